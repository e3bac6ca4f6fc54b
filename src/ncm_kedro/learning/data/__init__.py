"""Frames in memory, crop indices, cutting and augmenting batches.

Which crops there are is decided in `sem.crops`.
"""
