"""Attributes of labelled particles: measurement, uncertainty, comparison of samples, electrode.

Particles are segmented in `tomo`; their damage is explained in `damage`.
"""
