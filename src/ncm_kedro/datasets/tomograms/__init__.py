"""Tomograms on disk: readers of raw volumes, the OME-Zarr store, phantoms with truth.

Cutting a volume into blocks lives in `tomo.volumes`.
"""
