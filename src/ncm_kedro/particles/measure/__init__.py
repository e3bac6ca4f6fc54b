"""The 24 attributes of Table S1 and their uncertainty, block by block.

The loops over voxels live in `particles.kernels`.
"""
