"""The StarDist detector: network, files, runtimes.

Training lives in `tomo.training`.
"""
