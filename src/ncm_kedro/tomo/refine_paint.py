"""Masks of refined particles in files, and blocks put together from them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from ncm_kedro.tomo.blocks import Block
from ncm_kedro.whole_files import write_whole


@dataclass(frozen=True)
class PaintTask:
    """Put a block together from refined particles, and from flooded ones that were not refined.

    Attributes
    ----------
    draft
        Flooded labels.
    labels, cracks
        uint32 and uint8 (Z, Y, X), written.
    kept
        New label of each flooded particle that keeps its outline, index 0 for the background, 0
        for any other; (n + 1,).
    final
        New label of each refined particle, likewise.
    owner, box
        Block that refined each particle, and its bounding box, for label 1 first.
    masks
        Folder of the masks.
    """

    draft: zarr.Array
    labels: zarr.Array
    cracks: zarr.Array
    kept: NDArray[np.uint32]
    final: NDArray[np.uint32]
    owner: NDArray[np.int64]
    box: NDArray[np.int64]
    masks: Path

    def __call__(self, block: Block) -> None:
        """Write the block; where two refined particles meet, the lower label has it."""
        if self.kept.any():
            labels = self.kept[np.asarray(self.draft[block.region])]
        else:
            labels = np.zeros(block.shape, dtype=np.uint32)
        cracks = np.zeros(block.shape, dtype=np.uint8)
        low = np.maximum(self.box[:, :3], block.start)
        high = np.minimum(self.box[:, 3:], block.stop)
        here = (low < high).all(axis=1) & (self.final[1:] > 0)
        for at in np.flatnonzero(here)[::-1]:
            filled, crack = self._read(int(at))
            start = self.box[at, :3]
            into = tuple(
                slice(a - o, b - o) for a, b, o in zip(low[at], high[at], block.start, strict=True)
            )
            cut = tuple(
                slice(a - s, b - s) for a, b, s in zip(low[at], high[at], start, strict=True)
            )
            own = filled[cut]
            labels[into][own] = self.final[at + 1]
            cracks[into][own] = crack[cut][own]
        self.labels[block.region] = labels
        self.cracks[block.region] = cracks

    def _read(self, at: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        shape = tuple((self.box[at, 3:] - self.box[at, :3]).tolist())
        size = int(np.prod(shape))
        with np.load(mask_path(self.masks, int(self.owner[at]))) as stored:
            found = [
                np.unpackbits(stored[f"{at + 1}_{kind}"], count=size).reshape(shape).astype(bool)
                for kind in ("filled", "crack")
            ]
        return found[0], found[1]


def mask_path(folder: Path, block_index: int) -> Path:
    """Return the file of the masks that a block refined.

    Parameters
    ----------
    folder
        Folder of all masks.
    block_index
        The block.
    """
    return folder / f"{block_index:06d}.npz"


def write_masks(path: Path, stored: dict[str, NDArray[np.uint8]]) -> None:
    """Write a whole file or none: a run that is killed leaves no half of one.

    Parameters
    ----------
    path
        The file.
    stored
        Packed masks by name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **stored)  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())
