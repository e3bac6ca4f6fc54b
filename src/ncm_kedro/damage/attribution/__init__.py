"""Importance with intervals and p-values, agreement with a planted truth, synchrony.

Resampling and tests live here, the forests that they resample do not.
"""
