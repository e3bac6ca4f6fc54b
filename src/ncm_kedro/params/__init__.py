"""Typed, frozen parameters: one module per pipeline."""
