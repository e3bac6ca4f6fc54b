"""Composition, ageing state and particle damage of NCM cathodes from SEM frames and tomograms."""

from __future__ import annotations

import os
import tempfile
import warnings

__version__ = "0.1.0"

# No telemetry, whatever a dependency's default is: said before any of them is imported.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}.items():
    os.environ.setdefault(_name, _value)

# numba caches compiled kernels beside the package, else in the user's cache folder, and raises
# where neither can be written (read-only containers): there, for the life of the process.
if not any(os.access(folder, os.W_OK) for folder in (*__path__, os.path.expanduser("~"))):
    os.environ.setdefault("NUMBA_CACHE_DIR", tempfile.mkdtemp(prefix="ncm_kedro-numba-"))

# Said by dependencies about themselves while they start; nothing that a user can act on.
for _message in (
    r"register_new_resolver\(\) is deprecated",
    "Support for class-based `config` is deprecated",
):
    warnings.filterwarnings("ignore", message=_message)
