"""SEM frames on disk: raw folders, the Zarr store of decoded frames, survey responses.

How a frame is decoded is in `sem.io`.
"""
