"""Metrics, calibration, prediction sets, out-of-distribution scores, promotion.

No model is trained here.
"""
