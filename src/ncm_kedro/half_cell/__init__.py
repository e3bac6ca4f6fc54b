"""Finite elements of a half cell whose particles debond: mesh, equations, cycling, measures.

No tables on disk, no figures, no pipelines here; measured cells are in ``electrochemistry``.
"""

import os
from importlib.util import find_spec

from ncm_kedro.errors import SettingsError

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # UMFPACK's small blocks: threads slow it down

if find_spec("ngsolve") is None:
    raise SettingsError(
        "half_cell",
        found="no package ngsolve",
        expected="NGSolve, which solves the equations",
        action='install it: pip install "ncm-kedro[fe]"',
    )
