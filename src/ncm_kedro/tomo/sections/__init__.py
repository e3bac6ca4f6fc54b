"""Particles in one section: candidates, outlines.

Volumes live in `tomo.fusion` and `tomo.instances`.
"""
