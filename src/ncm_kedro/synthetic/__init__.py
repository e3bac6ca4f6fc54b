"""Data with known truth: SEM frames, tomograms, particle tables, cycler files.

Nothing here is used on real data.
"""
