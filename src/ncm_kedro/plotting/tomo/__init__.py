"""Figures and page of `tomo_segment`, `tomo_train` and `tomo_review`.

Numbers come from `tomo`.
"""
