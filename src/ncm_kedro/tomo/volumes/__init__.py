"""Volumes in blocks: ingest, field of view, the table of samples.

What is computed in a block lives with its subject.
"""
