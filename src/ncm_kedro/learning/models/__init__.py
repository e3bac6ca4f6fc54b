"""Networks, the classifier around them, prediction, and the texture baseline.

How good they are is measured in `learning.evaluation`.
"""
