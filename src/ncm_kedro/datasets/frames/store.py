"""The store of decoded SEM frames: one Zarr array per frame, decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.datasets.files import FolderDataset, lock_store, report_write_errors
from ncm_kedro.datasets.previews import ImagePreview, draw_sheet
from ncm_kedro.errors import StoreError
from ncm_kedro.sem.io.frames import DecodedFrames

if TYPE_CHECKING:
    import zarr

FRAME_COLUMNS = (
    "file", "class", "composition", "state", "additive", "magnification",
    "accelerating_voltage_kv", "instrument", "acquired_at", "height_px", "width_px", "banner_px",
    "pixel_size_um", "pixel_size_source", "pixel_size_other_um", "flags", "sidecar_json",
)  # fmt: skip

_PREVIEWED = 12
_KEPT = "what the store held before is intact, and frames already decoded are not decoded again"


class FrameStore(Mapping[str, NDArray[np.uint8]]):
    """Decoded frames by identity, read from disk on access.

    Parameters
    ----------
    folder
        The store.

    Raises
    ------
    StoreError
        If there is no store, or one of another format.
    """

    def __init__(self, folder: Path) -> None:
        from ncm_kedro.datasets.frames.writing import open_store

        self._folder = folder
        self._group = open_store(folder, mode="r")
        self._index: dict[str, dict[str, Any]] = dict(self._group.attrs.get("frames", {}))
        if not self._index:
            raise StoreError(
                folder,
                found="a store without a complete save",
                expected="decoded frames",
                action="run the pipeline sem_ingest to the end",
            )

    def __getitem__(self, frame_id: str, /) -> NDArray[np.uint8]:
        return np.asarray(self._array(frame_id)[:])

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, frame_id: object) -> bool:
        return frame_id in self._index

    @property
    def frame_ids(self) -> list[str]:
        """Identities, sorted."""
        return sorted(self._index)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Height and width (px) of each frame."""
        return {
            frame_id: (int(entry["shape"][0]), int(entry["shape"][1]))
            for frame_id, entry in self._index.items()
        }

    @property
    def rejected(self) -> pd.DataFrame:
        """Files that are not in the store: ``file, class, folder, kind, reason``, all text."""
        rows = pd.DataFrame(
            self._group.attrs.get("rejected", []),
            columns=["file", "class_name", "folder", "kind", "reason"],
        )
        return rows.rename(columns={"class_name": "class"}).fillna("").astype("str")

    def read(self, frame_id: str) -> NDArray[np.uint8]:
        """Read one frame.

        Returns
        -------
        ndarray of uint8, (H, W)
            Grey values, banner cut.
        """
        return self[frame_id]

    def attributes(self, frame_id: str) -> dict[str, Any]:
        """Return what is known about a frame, as JSON types."""
        return dict(self._array(frame_id).attrs)

    def describe(self) -> pd.DataFrame:
        """Tabulate what is known about each frame.

        Returns
        -------
        DataFrame
            A row per frame, sorted by ``frame_id``: the manifest's columns that come from the
            file itself, and ``sidecar_json``.
        """
        rows = [{"frame_id": frame_id, **self.attributes(frame_id)} for frame_id in self.frame_ids]
        table = pd.DataFrame(rows, columns=["frame_id", *FRAME_COLUMNS])
        texts = [
            "frame_id", "file", "class", "composition", "state", "additive", "instrument",
            "pixel_size_source", "sidecar_json",
        ]  # fmt: skip
        whole = ["height_px", "width_px", "banner_px"]
        numbers = [
            "magnification", "accelerating_voltage_kv", "pixel_size_um", "pixel_size_other_um",
        ]  # fmt: skip
        return table.assign(
            flags=table["flags"].str.join(";").astype("str"),
            acquired_at=pd.to_datetime(table["acquired_at"], format="ISO8601").astype(
                "datetime64[us]"
            ),
        ).astype(
            dict.fromkeys(texts, "str")
            | dict.fromkeys(whole, "int64")
            | dict.fromkeys(numbers, "float64")
        )

    def _array(self, frame_id: str) -> zarr.Array:
        from ncm_kedro.datasets.frames.writing import FRAMES

        return self._group[f"{FRAMES}/{self._index[frame_id]['array']}"]


class FrameStoreDataset(FolderDataset):
    """Zarr store of decoded frames; saving is incremental and can be resumed.

    Parameters
    ----------
    filepath
        Folder of the store.
    workers
        Threads that decode.
    metadata
        Anything; kedro ignores it (kedro-viz reads it).
    """

    def __init__(
        self, *, filepath: str, workers: int = 2, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._workers = workers

    def load(self) -> FrameStore:
        """Open the store."""
        return FrameStore(self._filepath)

    def save(self, data: DecodedFrames) -> None:
        """Decode the frames that the store does not hold yet, then replace the index.

        Raises
        ------
        StoreError
            If another run writes the store, the disk is full, or the store may not be written.
        FrameError
            If not one frame can be used.
        """
        from ncm_kedro.datasets.frames.writing import save_frames

        with report_write_errors(self._filepath, _KEPT), lock_store(self._filepath):
            save_frames(self._filepath, data, self._workers)

    def preview(self) -> ImagePreview:
        """Return frames from all of the store on one sheet."""
        from PIL import Image

        store = self.load()
        chosen = store.frame_ids[:: -(-len(store) // _PREVIEWED)]
        return draw_sheet((Image.fromarray(store[frame_id]) for frame_id in chosen), columns=4)

    def _exists(self) -> bool:
        try:
            return len(FrameStore(self._filepath)) > 0
        except StoreError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath.as_posix(), "workers": self._workers}
