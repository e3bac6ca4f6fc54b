"""Synthetic tables of particles with a simulated cause of damage.

Volumes live in `synthetic.tomo`.
"""
