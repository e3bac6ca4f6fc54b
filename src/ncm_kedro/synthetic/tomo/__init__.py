"""Phantom tomograms and sections with labels and cracks.

The detector that is trained on them lives in `tomo`.
"""
