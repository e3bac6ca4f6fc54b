"""The training loop with its optimiser, checkpoints and records.

Searching settings lives in `learning.search`.
"""
