"""Synthetic data with a known truth."""
