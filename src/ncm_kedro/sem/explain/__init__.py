"""Which crops are explained, their maps, and where attention lies.

Grad-CAM itself lives in `learning.explain`.
"""
