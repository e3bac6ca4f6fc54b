"""The quiz for experts: drawing it, reading answers, scoring.

The page lives in `plotting.sem`.
"""
