"""Synthetic SEM frames with banner and sidecar.

Reading them lives in `sem.io`.
"""
