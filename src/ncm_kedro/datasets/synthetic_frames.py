"""The folder that synthetic SEM frames are written to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from ncm_kedro.datasets.raw_frames import RawFrameFolder
from ncm_kedro.sem.frames import RawFrames
from ncm_kedro.synthetic.sem_frames import SyntheticFrame
from ncm_kedro.synthetic.sem_writing import write_sem_frames


class SyntheticFrameFolder(AbstractDataset[Iterable[SyntheticFrame], RawFrames]):
    """Writes frames as a user would lay them down, with their truth beside; reads like raw data.

    Parameters
    ----------
    filepath
        The folder; one that holds anything but synthetic frames is refused.
    labelled
        As for :class:`RawFrameFolder`.
    metadata
        For plug-ins, not used here.
    """

    def __init__(
        self, *, filepath: str, labelled: bool = True, metadata: dict[str, Any] | None = None
    ) -> None:
        self._filepath = Path(filepath)
        self._reader = RawFrameFolder(filepath=filepath, labelled=labelled)
        self.metadata = metadata

    @property
    def truth_path(self) -> Path:
        """The table of what is known of each frame, beside the folder."""
        return self._filepath.with_name(f"{self._filepath.name}_truth.parquet")

    def save(self, data: Iterable[SyntheticFrame]) -> None:
        """Write the frames, one at a time, then their truth."""
        truth = write_sem_frames(data, self._filepath)
        truth.to_parquet(self.truth_path)

    def load(self) -> RawFrames:
        """List the folder."""
        return self._reader.load()

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
