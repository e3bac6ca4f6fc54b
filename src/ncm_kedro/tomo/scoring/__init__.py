"""Agreement with known labels, and baselines to compare with.

Scores never change labels.
"""
