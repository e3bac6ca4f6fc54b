"""Search of training settings with Ray Tune and ASHA.

A single training lives in `learning.training`.
"""
