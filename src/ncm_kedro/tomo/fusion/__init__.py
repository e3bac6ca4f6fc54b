"""Probability from three section directions, fused block by block.

Instances are found in `tomo.instances`.
"""
