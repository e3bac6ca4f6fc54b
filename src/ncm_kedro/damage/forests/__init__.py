"""Random forests and their SHAP values, the registered model, the analysis of the paper.

What a value means statistically is decided in `damage.attribution`.
"""
