"""Holo-tomography: from X-ray projections at several distances to a volume of electron density.

Files of projections are read in `datasets.projections`; labelling the volume lives in `tomo`.
"""
