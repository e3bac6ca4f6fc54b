"""Synthetic tables of particles with a planted cause of damage.

Volumes live in `synthetic.tomo`.
"""
