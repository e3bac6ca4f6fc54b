"""Importance with intervals and p-values, agreement with a simulated truth, synchrony.

Resampling and tests live here, the forests that they resample do not.
"""
