"""A trained classifier on frames: tiles, votes, out-of-distribution frames, baselines.

Training lives in `learning`.
"""
