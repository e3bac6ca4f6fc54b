"""What all tests share."""

import importlib
import os
import warnings
from pathlib import Path

import pytest

# Warnings are errors in tests, but not those that other packages raise while they are imported.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for _name in (
        "mlflow.pyfunc",
        "mlflow.store.tracking.sqlalchemy_store",
        "kedro_mlflow.framework.hooks.mlflow_hook",
        "timm",
    ):
        importlib.import_module(_name)


@pytest.fixture(scope="session")
def real_frames_folder() -> Path:
    """Folder of the real frames, one sub-folder per class; skips where it is not at hand."""
    folder = Path(os.environ.get("NCM_REAL_DATA", "../shared/data/sem"))
    if not folder.is_dir():
        pytest.skip("the real SEM frames are not at hand (set NCM_REAL_DATA to their folder)")
    return folder
