"""The folder that phantom tomograms are written to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from ncm_kedro.datasets.raw_tomograms import RawTomogramFolder, RawTomograms
from ncm_kedro.datasets.store_files import lock_store
from ncm_kedro.errors import StoreError
from ncm_kedro.synthetic.tomo_writing import PhantomPlan, list_files, write_phantom


class SyntheticTomogramFolder(AbstractDataset[Iterable[PhantomPlan], RawTomograms]):
    """Renders phantoms into a folder of raw tomograms, their truth into another one.

    Samples that are there with the same settings are kept. Reads like the folder of a user.

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

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of the samples that are complete, sorted."""
        names = sorted(path.stem for path in self._truth.glob("*.json"))
        return tuple(
            name
            for name in names
            if all(path.is_file() for path in list_files(name, self._filepath, self._truth))
        )

    def load(self) -> RawTomograms:
        """Open the tomograms."""
        return RawTomogramFolder(filepath=str(self._filepath)).load()

    def _exists(self) -> bool:
        return bool(self.samples)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "truth": str(self._truth)}
