"""What all tests share."""

import importlib
import os
import warnings
from pathlib import Path

import pytest


def pytest_collection() -> None:
    """Import what warns while it is imported; xdist's controller collects nothing, so imports none.

    Warnings are errors in tests, but not those that other packages raise on import.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in (
            "mlflow.pyfunc",
            "mlflow.store.tracking.sqlalchemy_store",
            "kedro_mlflow.framework.hooks.mlflow_hook",
            "timm",
        ):
            importlib.import_module(name)


def _find_real_data(name: str, *needed: str) -> Path:
    """Folder of real data that holds the needed files; skips where they are not at hand.

    It is looked at for each test anew: a folder that is there may be empty.
    """
    sem = Path(os.environ.get("NCM_REAL_DATA", "../shared/data/sem"))
    folder = sem if name == "sem" else sem.parent / name
    missing = [pattern for pattern in needed if not any(folder.glob(pattern))]
    if missing:
        pytest.skip(f"real data is not at hand: no {missing[0]} in {folder} (set NCM_REAL_DATA)")
    return folder


@pytest.fixture
def real_frames_folder() -> Path:
    """Folder of the real frames and their sidecars, one sub-folder per class."""
    classes = [c + s for c in ("333", "523", "622", "811") for s in ("", "_formation", "_cycled")]
    return _find_real_data("sem", *(f"{c}/*.jpg{end}" for c in classes for end in ("", ".txt")))


@pytest.fixture
def real_tomograms_folder() -> Path:
    """Folder of the real section and the real map of phases."""
    return _find_real_data("tomo", "example_xy.tif", "nmc_phases_real_ct.tif")
