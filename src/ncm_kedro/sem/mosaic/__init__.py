"""Which frames show the same region: registration, overlaps, positions, sessions.

What follows for splits is in `sem.crops`.
"""
