"""Porosity, tortuosity, particle sizes: the electrode, and its export to PyBaMM.

Single particles live in `particles`.
"""
