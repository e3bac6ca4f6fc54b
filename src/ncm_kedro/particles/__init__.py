"""Attributes of labelled particles: measuring, statistics, the electrode.

Finding particles lives in `tomo`, explaining their damage in `damage`.
"""
