"""Agreement with a known truth, and baselines to compare with.

Scores never change labels.
"""
