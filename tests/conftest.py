"""What all tests share."""

import gc
import importlib
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

# A worker is a core: threads of two libraries beside each other wait more than they work. Said
# before either is imported, in the process that starts the workers.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


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


def pytest_collection_finish() -> None:
    """Keep what was imported out of the garbage collector, which would go through it all along."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let it be collected in the end."""
    gc.unfreeze()


COMPILED = {"damage", "particles", "tomo"}
"""Folders whose files share kernels that are compiled on first use, or TensorFlow."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a file to one worker, and a folder of compiled code too: it is compiled once."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduler(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            folder = Path(file).parent
            return str(folder) if folder.name in COMPILED else file

    return Scheduler(config, log)


@pytest.fixture(scope="session")
def track(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Path], AbstractContextManager[Path]]:
    """Open a tracking store and registry of MLflow in a folder, and leave it at the end.

    MLflow takes a second to make a database: one is made, the others are its copies.
    """
    import mlflow

    empty = tmp_path_factory.mktemp("empty") / "mlflow.db"
    mlflow.set_tracking_uri(f"sqlite:///{empty}")
    mlflow.search_experiments()

    @contextmanager
    def track_in(folder: Path) -> Iterator[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(empty, folder)
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.create_experiment("test", artifact_location=str(folder / "artifacts"))
        mlflow.set_experiment("test")
        yield folder
        mlflow.set_tracking_uri(None)

    return track_in


# Made absolute before any test works in another folder.
_REAL_FRAMES = Path(os.environ.get("NCM_REAL_DATA", "../shared/data/sem")).absolute()


def _find_real_data(name: str, *needed: str) -> Path:
    """Folder of real data that holds the needed files; skips where they are not at hand.

    It is looked at for each test anew: a folder that is there may be empty.
    """
    folder = _REAL_FRAMES if name == "sem" else _REAL_FRAMES.parent / name
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
