"""From a raw tomogram to a volume: copied, checked, and its field of view marked.

Grey values are kept as they are. Whole numbers keep their type, those of eight bytes become four
bytes where they fit; every float type becomes float32; byte order becomes the machine's. What is
stored is read through `GuardedArray`, whose errors name the damaged file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ncm_kedro.errors import StoreError, TomogramError
from ncm_kedro.params.tomo_segment import TomoComputeParams, TomoVolumeParams
from ncm_kedro.tomo.volumes.blocks import Block, list_blocks, run_blocks
from ncm_kedro.tomo.volumes.field_of_view import (
    CELL_VX,
    HALO_YX_VX,
    Outside,
    find_outside,
    mark_inside,
    reduce_cells,
)
from ncm_kedro.tomo.volumes.identity import fingerprint
from ncm_kedro.tomo.volumes.volume import RawTomogram, Triple, VolumePlan, VolumeTarget

PERCENTILES = (1.0, 50.0, 99.8)
FIELD_OF_VIEW = "field_of_view"
_METHOD_VERSION = 2
_BAD = {
    "f": "NaN, infinite or beyond float32", "i": "beyond 32 bits", "u": "beyond 32 bits",
}  # fmt: skip
_log = logging.getLogger(__name__)

_Results = Sequence[Mapping[str, NDArray[Any]]]


def plan_tomogram(
    raw: RawTomogram, params: TomoVolumeParams, compute: TomoComputeParams
) -> VolumePlan:
    """Plan the copy of a tomogram.

    Returns
    -------
    VolumePlan
        The grey values, with the extra ``field_of_view`` (uint8, 1 inside). Written with the
        array are ``grey_percentiles`` (1, 50 and 99.8, inside the field of view),
        ``field_of_view_fraction`` and ``outside_grey`` (null where everything is inside).
    """
    stored = choose_stored_type(raw.dtype)
    return VolumePlan(
        name=raw.name,
        shape_zyx=raw.shape_zyx,
        dtype=stored,
        voxel_size_um=raw.voxel_size_um,
        fingerprint=fingerprint(
            f"tomogram-{_METHOD_VERSION}",
            raw.fingerprint,
            raw.shape_zyx,
            stored.name,
            raw.voxel_size_um,
            dict(raw.attributes),
            params=params.model_dump(mode="json", exclude={"slab_memory_mb"}),
        ),
        write=TomogramWriter(raw, params, compute),
        extras={FIELD_OF_VIEW: np.uint8},
        attributes={
            **raw.attributes,
            "source": raw.source,
            "voxel_size_source": raw.voxel_size_source,
        },
    )


def choose_stored_type(kind: np.dtype[Any]) -> np.dtype[Any]:
    """Choose the type in which a tomogram is stored.

    Parameters
    ----------
    kind
        Type in the file: boolean, whole or real numbers.

    Returns
    -------
    numpy.dtype
        uint8 for booleans, float32 for real numbers, four bytes for whole numbers of eight, else
        the same, in the machine's byte order.
    """
    if kind.kind == "b":
        return np.dtype(np.uint8)
    if kind.kind in "iu" and kind.itemsize == 8:
        return np.dtype(f"{kind.kind}4")
    return np.dtype(np.float32) if kind.kind == "f" else kind.newbyteorder("=")


@dataclass(frozen=True)
class TomogramWriter:
    """Fills a target with a tomogram."""

    raw: RawTomogram
    params: TomoVolumeParams
    compute: TomoComputeParams

    def __call__(self, target: VolumeTarget) -> None:
        """Copy, check, mark the field of view, and note the grey values."""
        edge = int((target.array.shards or target.array.chunks)[0])  # shards are cubes
        kind = target.array.dtype
        slabs = list_blocks(self.raw.shape_zyx, self._choose_slab(edge, kind.itemsize))
        copied = run_blocks(
            _CopySlab(self.raw, target.array, edge),
            slabs,
            finished=target.work / "copy",
            compute=self.compute,
            title=f"{self.raw.name}: copy",
        )
        _check_values(self.raw, slabs, copied)
        outside = self._find_outside(slabs, copied, kind)
        marked = run_blocks(
            _MarkBlock(target.array, target.extras[FIELD_OF_VIEW], outside, self._lattice_step),
            list_blocks(self.raw.shape_zyx, (edge, edge, edge)),
            finished=target.work / "field_of_view",
            compute=self.compute,
            title=f"{self.raw.name}: field of view",
        )
        target.array.attrs.update(_summarise(self.raw, marked, outside))

    @property
    def _lattice_step(self) -> int:
        voxels = int(np.prod(self.raw.shape_zyx))
        return max(1, int(np.ceil((voxels / self.params.grey_samples) ** (1 / 3))))

    def _choose_slab(self, edge: int, itemsize: int) -> Triple:
        """Choose as many rows of whole shards as the memory holds: files hold whole sections."""
        _, height, width = self.raw.shape_zyx
        row_of_blocks = edge * edge * width * max(itemsize, self.raw.dtype.itemsize)
        rows = max(1, self.params.slab_memory_mb * 1_000_000 // row_of_blocks)
        return edge, min(rows * edge, -(-height // edge) * edge), width

    def _find_outside(
        self, slabs: list[Block], copied: _Results, kind: np.dtype[Any]
    ) -> Outside | None:
        depth, height, width = self.raw.shape_zyx
        if not self.params.find_field_of_view:
            return None
        shape = depth, -(-height // CELL_VX), -(-width // CELL_VX)
        low, high = np.empty(shape, kind), np.empty(shape, kind)
        for slab, result in zip(slabs, copied, strict=True):
            region = _cell_region(slab)
            low[region], high[region] = result["low"], result["high"]
        outside = find_outside(low, high, kind, self.params)
        return None if outside.is_empty else outside


@dataclass(frozen=True)
class _CopySlab:
    """Copies one slab of blocks and returns the extremes of its cells."""

    raw: RawTomogram
    array: zarr.Array
    edge: int

    def __call__(self, slab: Block) -> Mapping[str, NDArray[Any]]:
        values_zyx = self.raw.read(slab.region)
        kind = self.array.dtype
        cells = tuple(-(-n // CELL_VX) for n in slab.shape[1:])
        low, high = (np.empty((slab.shape[0], *cells), kind) for _ in range(2))
        bad_z = np.zeros(slab.shape[0], np.int64)
        for block in list_blocks(slab.shape, (self.edge,) * 3):
            with np.errstate(over="ignore"):
                part = np.ascontiguousarray(values_zyx[block.region], kind)
            if kind.itemsize < self.raw.dtype.itemsize and kind.kind in "iu":
                bad_z += np.count_nonzero(part != values_zyx[block.region], axis=(1, 2))
            if kind.kind == "f":
                bad_z += np.count_nonzero(~np.isfinite(part), axis=(1, 2))
            region = _cell_region(block)
            low[region], high[region] = reduce_cells(part)
            place = tuple(
                slice(o + a, o + b)
                for o, a, b in zip(slab.start, block.start, block.stop, strict=True)
            )
            self.array[place] = part
        return {"low": low, "high": high, "bad": bad_z}


@dataclass(frozen=True)
class _MarkBlock:
    """Marks the field of view of one block and returns grey values on a lattice inside it."""

    array: zarr.Array
    inside: zarr.Array
    outside: Outside | None
    step: int

    def __call__(self, block: Block) -> Mapping[str, NDArray[Any]]:
        depth, height, width = (int(n) for n in self.array.shape)
        outer = block.grow((0, HALO_YX_VX, HALO_YX_VX), (depth, height, width))
        if self.outside is None or not self.outside.cut(outer).any():
            outer = block
        values_zyx = np.asarray(self.array[outer.region])
        if self.outside is None or outer is block:
            inside_zyx = np.ones(block.shape, np.uint8)
        else:
            inside_zyx = mark_inside(values_zyx, outer, block, self.outside)
        self.inside[block.region] = inside_zyx
        lattice = tuple(slice(-a % self.step, None, self.step) for a in block.start)
        own = values_zyx[block.within(outer)][lattice]
        return {
            "grey": own[inside_zyx[lattice] > 0],
            "inside": np.array([np.count_nonzero(inside_zyx)]),
        }


def _cell_region(block: Block) -> tuple[slice, slice, slice]:
    z, y, x = (
        slice(a // edge, -(-b // edge))
        for a, b, edge in zip(block.start, block.stop, (1, CELL_VX, CELL_VX), strict=True)
    )
    return z, y, x


def _check_values(raw: RawTomogram, slabs: list[Block], copied: _Results) -> None:
    bad_z = np.zeros(raw.shape_zyx[0], np.int64)
    for slab, result in zip(slabs, copied, strict=True):
        bad_z[slab.start[0] : slab.stop[0]] += result["bad"]
    if bad_z.any():
        sections = np.flatnonzero(bad_z)
        raise TomogramError(
            raw.source,
            found=f"{bad_z.sum()} voxels that are {_BAD[raw.dtype.kind]}, in "
            f"{len(sections)} sections, the first z = {sections[0]} ({bad_z[sections[0]]} voxels)",
            expected="finite grey values that four bytes hold",
            action="replace them, for example by the constant grey of the background outside the "
            "image circle, and start again",
        )
    low = min(result["low"].min() for result in copied)
    high = max(result["high"].max() for result in copied)
    if low == high:
        raise TomogramError(
            raw.source,
            found=f"the grey value {low} in every voxel",
            expected="a tomogram with some contrast",
            action="check the reconstruction, or name the right dataset in the sample's .yml",
        )


def _summarise(raw: RawTomogram, marked: _Results, outside: Outside | None) -> dict[str, Any]:
    grey = np.concatenate([result["grey"] for result in marked])
    share = sum(int(result["inside"][0]) for result in marked) / float(np.prod(raw.shape_zyx))
    if not grey.size:
        raise TomogramError(
            raw.source,
            found="no voxel inside the field of view",
            expected="a tomogram with some contrast",
            action="set find_field_of_view: false if the whole volume is material",
        )
    values = np.percentile(grey, PERCENTILES)
    outside_grey = None if outside is None else float(np.nanmedian(outside.grey_z))
    _log.info("%s: %.1f %% lies in the field of view", raw.name, 100 * share)
    return {
        "grey_percentiles": {f"{p:g}": float(v) for p, v in zip(PERCENTILES, values, strict=True)},
        "field_of_view_fraction": share,
        "outside_grey": outside_grey,
    }


_DECODING_ERRORS = (ValueError, RuntimeError, OSError, TypeError, KeyError)


class GuardedArray(zarr.Array):
    """A Zarr array whose reads raise `StoreError` where the stored bytes are damaged.

    Chunks carry a checksum (crc32c), so that a flipped bit does not pass as a grey value. A file
    that is missing altogether is no error in Zarr: it stands for the fill value.

    Parameters
    ----------
    async_array
        What an opened `zarr.Array` wraps; `guard_array` hands it over.
    """

    def __getitem__(self, selection: Any) -> Any:
        try:
            return super().__getitem__(selection)
        except _DECODING_ERRORS as error:
            damaged = self._find_damaged()
            if damaged is None:
                raise
            raise StoreError(
                damaged,
                found=f"a chunk that cannot be decoded ({error})",
                expected="the bytes that were written",
                action="check the disk, delete this volume's folder and run the pipeline that "
                "writes it again; other volumes are not concerned",
            ) from error

    def _find_damaged(self) -> str | None:
        """Name the first file of the array that cannot be decoded."""
        edges = self.shards or self.chunks
        grid = [range(-(-n // edge)) for n, edge in zip(self.shape, edges, strict=True)]
        for place in product(*grid):
            region = tuple(slice(i * e, (i + 1) * e) for i, e in zip(place, edges, strict=True))
            try:
                super().__getitem__(region)
            except _DECODING_ERRORS:
                return f"{self.store_path}/{self.metadata.encode_chunk_key(place)}"
        return None


def guard_array(array: zarr.Array) -> GuardedArray:
    """Wrap an opened array; nothing is read."""
    return GuardedArray(array.async_array)
