"""What damages particles: attribution on the tables of measured particles.

Tables in, tables out; measuring particles lives in `particles`, pictures in `plotting`.
"""
