"""Functions that return a matplotlib Figure."""
