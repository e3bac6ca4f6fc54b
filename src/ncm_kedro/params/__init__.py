"""Frozen Pydantic models of every parameter, with unit and meaning, by pipeline.

Values live in `conf/`.
"""
