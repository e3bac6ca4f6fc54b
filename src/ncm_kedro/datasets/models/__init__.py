"""Models in files and in the MLflow registry, and the scripts that serve them.

Training and promotion rules live in the domain.
"""
