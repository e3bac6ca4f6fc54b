"""Cycler exports to capacity, efficiency and voltage curves.

Reading bytes and computing live here; folders are known to `datasets.cycling`.
"""
