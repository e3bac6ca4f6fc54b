"""Probability from three section directions, fused block by block.

Particles are separated in `tomo.instances`.
"""
