"""Volumes in blocks: ingest, pyramids, field of view.

What is computed in a block lives with its subject.
"""
