"""Which run made each data set: a small file per data set, in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from pydantic import ValidationError

from ncm_kedro.errors import StoreError
from ncm_kedro.plotting.provenance import RunRecord
from ncm_kedro.whole_files import write_whole

_SUFFIX = ".json"


class LineageFolder(AbstractDataset[Mapping[str, RunRecord], dict[str, RunRecord]]):
    """Records by the name of their data set; ``<data set>/<partition>`` for part of one.

    Saving adds records and replaces those of the same name; the others stay.

    Parameters
    ----------
    path
        The folder; it is made when something is saved.
    metadata
        For plug-ins, not used here.
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
        """Write each record whole or not at all."""
        for name, record in data.items():
            file = self._path / f"{name}{_SUFFIX}"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, record.model_dump_json(indent=1).encode())

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
