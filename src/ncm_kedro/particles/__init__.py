"""Attributes of labelled particles: measuring, tabulating, comparing, exporting."""
