"""Comparison of samples, rank statistics, robustness.

No voxel is read here.
"""
