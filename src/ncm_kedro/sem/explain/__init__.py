"""Which crops are explained, their maps, and the attention to particle boundaries.

Grad-CAM itself lives in `learning.explain`.
"""
