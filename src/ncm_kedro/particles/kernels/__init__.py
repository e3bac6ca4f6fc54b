"""Compiled loops over voxels: blocks, cut-outs, closing, surfaces, crack width.

Arrays in and out; what the numbers mean is in `particles`.
"""
