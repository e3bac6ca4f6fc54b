"""Known labels of a tomogram: a phantom's, or a volume that somebody labelled by hand.

The folder that phantom tomograms are written to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset, DatasetError
from numpy.typing import NDArray

from ncm_kedro.datasets.files import FolderDataset, lock_store
from ncm_kedro.datasets.tomograms.raw import RawTomogramFolder, RawTomograms
from ncm_kedro.errors import StoreError
from ncm_kedro.synthetic.tomo.volume import PhantomPlan, list_files, write_phantom

LABELS_ENDING = "_labels.tif"
PARTICLES_ENDING = "_particles.parquet"


@dataclass(frozen=True)
class TomogramTruth(Mapping[str, NDArray[np.int32]]):
    """Label volumes by sample, read on access.

    Attributes
    ----------
    folder
        Holds ``<sample>_labels.tif``; it need not exist.
    """

    folder: Path

    def __getitem__(self, sample: str, /) -> NDArray[np.int32]:
        import tifffile

        path = self.folder / f"{sample}{LABELS_ENDING}"
        if not path.is_file():
            raise KeyError(sample)
        try:
            labels = tifffile.imread(path)
        except (OSError, ValueError, tifffile.TiffFileError) as error:
            self._refuse(path, f"a file that cannot be read ({error})", error)
        if labels.ndim != 3 or labels.dtype.kind not in "iu":
            self._refuse(path, f"{labels.ndim}-D values of type {labels.dtype}", None)
        if labels.size and int(labels.max()) > np.iinfo(np.int32).max:
            self._refuse(path, f"a label of {labels.max()}, beyond 32 bits with a sign", None)
        known: NDArray[np.int32] = labels.astype(np.int32, copy=False)
        return known

    def read_particles(self, sample: str) -> pd.DataFrame | None:
        """Read the known attributes of each particle, None where nothing is.

        Parameters
        ----------
        sample
            The sample; its table is ``<sample>_particles.parquet``.

        Raises
        ------
        StoreError
            If the file is damaged.
        """
        path = self.folder / f"{sample}{PARTICLES_ENDING}"
        if not path.is_file():
            return None
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise StoreError(
                path,
                found=f"a file that cannot be read ({error})",
                expected="a parquet table, a row per particle",
                action="write it again (`synthesise` does), or move it away: the comparison with "
                "the truth is then skipped",
            ) from error

    def __iter__(self) -> Iterator[str]:
        for path in sorted(self.folder.glob(f"*{LABELS_ENDING}")):
            yield path.name.removesuffix(LABELS_ENDING)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _refuse(self, path: Path, found: str, error: Exception | None) -> NoReturn:
        raise StoreError(
            path,
            found=found,
            expected="a TIFF stack (Z, Y, X) of whole-number labels, 0 = background",
            action="write the labels again, or move the file away: scores are then skipped",
        ) from error


class TomogramTruthFolder(FolderDataset):
    """Loads as label volumes by sample; an absent folder is an empty one."""

    def load(self) -> TomogramTruth:
        """List the folder."""
        return TomogramTruth(self._filepath.resolve())

    def save(self, data: None) -> NoReturn:
        """Raise: known labels come from a person or from ``synthesise``."""
        raise DatasetError(f"{self._filepath} holds known labels: no node writes it")


class SyntheticTomogramFolder(AbstractDataset[Iterable[PhantomPlan], RawTomograms]):
    """Renders phantoms into a folder of raw tomograms, their truth into another one.

    Samples that are there with the same settings are reused. Reads like the folder of a user.

    Parameters
    ----------
    filepath
        The folder of raw tomograms; a user's own files in it are never replaced.
    truth
        The folder of truths, outside `filepath`; by default ``<filepath>_truth``.

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
        return RawTomogramFolder(filepath=str(self._filepath), may_be_empty=True).load()

    def _exists(self) -> bool:
        return bool(self.samples)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "truth": str(self._truth)}
