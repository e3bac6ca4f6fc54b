"""Which frames show the same region: registration, links, positions.

What follows for splits is in `sem.crops`.
"""
