"""Figures and page of `particle_features`.

Numbers come from `particles`.
"""
