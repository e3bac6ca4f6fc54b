"""Corrections by hand: suspect particles, edits, the viewer.

Files live in `datasets.tomograms`.
"""
