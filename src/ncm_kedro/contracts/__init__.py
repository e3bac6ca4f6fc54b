"""What every table and volume must satisfy, checked where it is saved and loaded.

Pandera models and validators live here; reading and writing do not.
"""
