"""Unique imaged area, and crops in splits of disjoint regions.

Cutting pixels lives in `learning.data`.
"""
