"""The only code that knows files: Kedro data sets and the stores behind them.

No computation lives here; what a table must satisfy is in `contracts`.
"""
