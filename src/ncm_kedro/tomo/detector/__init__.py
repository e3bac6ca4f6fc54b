"""The StarDist detector: its files, runtimes, and particles in single sections.

Training lives in `tomo.training`.
"""
