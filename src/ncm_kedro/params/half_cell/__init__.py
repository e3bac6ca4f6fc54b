"""Settings of `half_cell`; where Li et al. (2022), supplement, states a value, it is the default.

Sections and meshes in ``geometry``, the physics in ``physics``, cases and sweeps in ``case``.
"""
