"""The folder that phantom tomograms are written to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from ncm_kedro.datasets.store_files import lock_store
from ncm_kedro.errors import StoreError
from ncm_kedro.synthetic.tomo_writing import PhantomPlan, list_files, write_phantom


@dataclass(frozen=True)
class SyntheticTomograms:
    """Where phantom tomograms and their truth lie.

    Attributes
    ----------
    folder
        Of raw tomograms, ``<sample>.tif`` and ``<sample>.yml``.
    truth
        Of ``<sample>_labels.tif``, ``_cracks.tif``, ``_particles.parquet``,
        ``_contacts.parquet``.
    samples
        Names, sorted.
    """

    folder: Path
    truth: Path
    samples: tuple[str, ...]


class SyntheticTomogramFolder(AbstractDataset[Iterable[PhantomPlan], SyntheticTomograms]):
    """Renders phantoms into a folder of raw tomograms, their truth into another one.

    Samples that are there with the same settings are kept.

    Parameters
    ----------
    filepath
        The folder of raw tomograms; a user's own files in it are never replaced.
    truth
        The folder of truths, outside `filepath`; by default ``<filepath>_truth``.
    metadata
        For plug-ins, not used here.

    Raises
    ------
    StoreError
        If `truth` lies within `filepath`, where it would be taken for samples.
    """

    def __init__(
        self, *, filepath: str, truth: str | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        self._filepath = Path(filepath)
        self._truth = (
            Path(truth) if truth else self._filepath.with_name(f"{self._filepath.name}_truth")
        )
        if self._filepath.absolute() in (self._truth.absolute(), *self._truth.absolute().parents):
            raise StoreError(
                self._truth,
                found="truths within the folder of raw tomograms",
                expected="a folder outside, as labels would be taken for samples",
                action="set `truth` in the catalog to another folder",
            )
        self.metadata = metadata

    def save(self, data: Iterable[PhantomPlan]) -> None:
        """Render what is not there yet, one sample at a time."""
        with lock_store(self._truth):
            for plan in data:
                write_phantom(plan, self._filepath, self._truth)

    def load(self) -> SyntheticTomograms:
        """List the samples that are complete."""
        names = sorted(path.stem for path in self._truth.glob("*.json"))
        complete = tuple(
            name
            for name in names
            if all(path.is_file() for path in list_files(name, self._filepath, self._truth))
        )
        return SyntheticTomograms(self._filepath, self._truth, complete)

    def _exists(self) -> bool:
        return bool(self.load().samples)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "truth": str(self._truth)}
