"""Figures and page of the SEM pipelines.

Numbers come from `sem` and `learning`.
"""
