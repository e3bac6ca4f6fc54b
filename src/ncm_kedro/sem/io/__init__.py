"""One frame: class label, decoding, banner, scale bar, sidecar.

Comparing frames lives in `sem.mosaic`, assessing them in `sem.audit`.
"""
