"""One frame: labels, sidecar, banner, scale bar, decoding.

Comparing frames lives in `sem.mosaic`, judging them in `sem.audit`.
"""
