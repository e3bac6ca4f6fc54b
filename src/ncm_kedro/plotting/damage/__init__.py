"""Figures and page of `damage_attribution`.

Numbers come from `damage`.
"""
