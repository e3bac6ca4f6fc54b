"""A trained classifier on frames: tiles, new electrodes, out-of-distribution frames, baselines.

Training lives in `learning`.
"""
