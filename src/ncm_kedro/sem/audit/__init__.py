"""Quality and exclusion of frames, unique area, confounding.

Models are evaluated in `sem.inference`.
"""
