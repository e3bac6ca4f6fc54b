"""Finite elements of a half cell whose particles debond: mesh, equations, cycling, measures.

No tables on disk, no figures, no pipelines here; measured cells are in ``electrochemistry``.
"""

import ctypes
import os
from importlib.util import find_spec

from ncm_kedro.errors import SettingsError

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # UMFPACK's small blocks: threads slow it down

if find_spec("ngsolve") is None:
    raise SettingsError(
        "half_cell",
        found="no package ngsolve",
        expected="NGSolve, which solves the equations",
        action="run `pip install ngsolve` in this project's environment",
    )

# NGSolve shows its BLAS to the whole process: torch, loaded later, would call it and crash.
_visibility = ctypes.RTLD_GLOBAL
ctypes.RTLD_GLOBAL = ctypes.RTLD_LOCAL  # type: ignore[misc]
try:
    import ngsolve  # noqa: F401
finally:
    ctypes.RTLD_GLOBAL = _visibility  # type: ignore[misc]
