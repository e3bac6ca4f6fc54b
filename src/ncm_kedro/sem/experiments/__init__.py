"""Studies and transfer: one setting varied or one group held out at a time.

A single training lives in `learning.training`.
"""
