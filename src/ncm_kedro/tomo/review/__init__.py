"""Corrections by hand: what to look at, edits, the viewer.

Files live in `datasets.tomograms`.
"""
