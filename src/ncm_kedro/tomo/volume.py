"""A volume on disk, as the domain sees it, and a volume that is yet to be computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Volume:
    """A finished volume, opened for reading; nothing is read before it is indexed.

    Attributes
    ----------
    name
        The sample.
    path
        Its OME-Zarr group.
    array
        Full resolution, (Z, Y, X).
    levels
        The pyramid, ``levels[0]`` is ``array``; each level halves the axes it can.
    voxel_size_um
        Edges of a voxel of ``array`` along z, y, x.
    extras
        Further arrays of the same shape by name, as ``field_of_view`` (uint8, 1 inside).
    attributes
        What is known about it, as JSON types; ``fingerprint`` among it.
    """

    name: str
    path: Path
    array: zarr.Array
    levels: tuple[zarr.Array, ...]
    voxel_size_um: Spacing
    extras: Mapping[str, zarr.Array] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape_zyx(self) -> Triple:
        """Voxels along z, y, x."""
        depth, height, width = self.array.shape
        return int(depth), int(height), int(width)

    @property
    def fingerprint(self) -> str:
        """Identity of the content: inputs, settings and code that made it."""
        return str(self.attributes["fingerprint"])


class Volumes(dict[str, Volume]):
    """Volumes by sample.

    Parameters
    ----------
    volumes
        What was opened.
    set_aside
        Reason by sample that could not be used when the volumes were last written.
    """

    def __init__(
        self, volumes: Mapping[str, Volume], set_aside: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(volumes)
        self.set_aside = dict(set_aside or {})


@dataclass(frozen=True)
class VolumeTarget:
    """An unfinished volume that a plan writes into; it is published when the plan is through.

    Attributes
    ----------
    array
        Full resolution, (Z, Y, X), writable. One task alone may write a shard.
    extras
        Further arrays of the same shape, chunks and shards by name.
    work
        Folder for scratch arrays and for the record of finished blocks. It survives a kill,
        so that the next run goes on, and is removed when the volume is published.
    """

    array: zarr.Array
    extras: Mapping[str, zarr.Array]
    work: Path


@dataclass(frozen=True)
class VolumePlan:
    """A volume that is yet to be computed; the data set that saves it runs ``write``.

    Attributes
    ----------
    name
        The sample.
    shape_zyx
        Voxels along z, y, x.
    dtype
        Of the full-resolution array.
    voxel_size_um
        Edges of a voxel along z, y, x.
    fingerprint
        Changes whenever an input, a setting or the method changes; a finished volume of the
        same fingerprint is kept, an unfinished one is gone on with.
    write
        Fills the target block by block; called again after a kill, it redoes no finished block.
    extras
        Data types of the further arrays by name.
    is_label
        Whether the values are identities (then coarser levels pick, never average).
    attributes
        What is to be stored beside, as JSON types.
    """

    name: str
    shape_zyx: Triple
    dtype: DTypeLike
    voxel_size_um: Spacing
    fingerprint: str
    write: Callable[[VolumeTarget], None]
    extras: Mapping[str, DTypeLike] = field(default_factory=dict)
    is_label: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays at full resolution, before compression."""
        voxels = int(np.prod(self.shape_zyx))
        kinds = [self.dtype, *self.extras.values()]
        return voxels * sum(np.dtype(kind).itemsize for kind in kinds)
