"""Tomograms: from a raw volume to labelled particles.

Files live in `datasets.tomograms`, attributes in `particles`.
"""
