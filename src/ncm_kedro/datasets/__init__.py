"""Kedro data sets: the only code that knows files."""
