"""Grad-CAM, its sanity check by shuffled weights, and scores of attribution on boundaries.

Which crops are explained is decided in `sem.explain`.
"""
