"""Grad-CAM, its sanity check, and where attention lies.

Which crops are explained is decided in `sem.explain`.
"""
