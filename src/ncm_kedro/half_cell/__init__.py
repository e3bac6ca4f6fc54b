"""Finite elements of a half cell whose particles debond: mesh, equations, cycling, measures.

No tables on disk, no figures, no pipelines here; measured cells are in ``electrochemistry``.
"""
