"""Composition, ageing state and particle damage of NCM cathodes from SEM frames and tomograms."""

from __future__ import annotations

import os

__version__ = "0.1.0"

# No telemetry, whatever a dependency's default is: said before any of them is imported.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}.items():
    os.environ.setdefault(_name, _value)
