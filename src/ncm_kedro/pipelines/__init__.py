"""Wiring: a package per pipeline, nodes of a few lines that call the domain.

Nothing is computed here.
"""
