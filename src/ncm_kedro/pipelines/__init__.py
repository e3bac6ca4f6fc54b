"""Pipelines: wiring and translation only."""
