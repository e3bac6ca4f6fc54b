"""The training loop with its checkpoints, the search over settings, and classifiers from both.

Networks and prediction live in `learning.models`.
"""
