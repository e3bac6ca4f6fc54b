"""Data sets around others, folders of long work and of the user, and lineage.

The optional data set, which a pipeline does without where it is not there; the folder for the
state of interrupted work; a small file per data set about its run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError
from pydantic import ValidationError

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.datasets.files import FolderDataset
from ncm_kedro.errors import StoreError
from ncm_kedro.provenance import RunRecord


class OptionalDataset(AbstractDataset[Any, Any]):
    """Another data set that loads as None while there is nothing; it is saved as it is.

    Parameters
    ----------
    dataset
        The other data set, as it would stand in the catalog.

    Attributes
    ----------
    dataset
        The other data set.
    may_be_missing
        A pipeline that reads it runs without it.
    """

    may_be_missing = True

    def __init__(self, *, dataset: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        self.dataset: AbstractDataset[Any, Any] = AbstractDataset.from_config("optional", dataset)
        self.metadata = metadata
        if hasattr(self.dataset, "preview"):
            self.preview = self.dataset.preview  # kedro-viz looks for the attribute

    def load(self) -> Any:
        """Return what the other data set loads; None where there is nothing."""
        return self.dataset.load() if self.dataset.exists() else None

    def save(self, data: Any) -> None:
        """Save by the other data set, which may raise."""
        self.dataset.save(data)

    def _exists(self) -> bool:
        return bool(self.dataset.exists())

    def _describe(self) -> dict[str, Any]:
        return {"dataset": str(self.dataset)}


class WorkFolderDataset(FolderDataset):
    """Loads as the path of a folder that exists; the work in it belongs to the domain."""

    def load(self) -> Path:
        """Create the folder where it is missing and return its absolute path."""
        self._filepath.mkdir(parents=True, exist_ok=True)
        return self._filepath.resolve()

    def save(self, data: None) -> NoReturn:
        """Raise: nothing is saved here by a node."""
        raise DatasetError(f"{self._filepath} is a work folder: nodes only load it")


_SUFFIX = ".json"


class LineageFolder(AbstractDataset[Mapping[str, RunRecord], dict[str, RunRecord]]):
    """Records by the name of their data set; ``<data set>/<partition>`` for part of one.

    Saving adds records and replaces those of the same name; the others stay.

    Parameters
    ----------
    path
        The folder; it is made when something is saved.
    """

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path)
        self.metadata = metadata

    def load(self) -> dict[str, RunRecord]:
        """Return all records; none where nothing was recorded.

        Raises
        ------
        StoreError
            A file holds no record.
        """
        files = sorted(self._path.rglob(f"*{_SUFFIX}"))
        return {
            file.relative_to(self._path).as_posix().removesuffix(_SUFFIX): _read_record(file)
            for file in files
        }

    def save(self, data: Mapping[str, RunRecord]) -> None:
        """Write each record atomically."""
        for name, record in data.items():
            file = self._path / f"{name}{_SUFFIX}"
            write_atomic(file, record.model_dump_json(indent=1).encode())

    def _exists(self) -> bool:
        return self._path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}


def _read_record(file: Path) -> RunRecord:
    try:
        return RunRecord.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise StoreError(
            file,
            found=f"no record of a run ({error.errors()[0]['msg']})",
            expected="a record that this project wrote",
            action="delete the file; the next run that saves the data set writes it anew",
        ) from error
