"""Watershed of the fused map, block by block, the same as of the whole volume at once.

Each foreground voxel points to the highest of its 26 neighbours and itself; of equals the one that
comes first in raster order counts. That is a total order, so that chains of pointers end at a local
maximum, the root of a basin, and they do so whatever the cutting into blocks. A block follows its
chains to a root of its own or to the first voxel outside; those open ends are joined in a table
afterwards. (Watershed by steepest ascent: Mortensen and Barrett 1999, "Toboggan-based intelligent
scissors", CVPR; Roerdink and Meijster 2000, Fundamenta Informaticae 41, section 4.2.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ncm_kedro.tomo.volumes.blocks import Block
from ncm_kedro.tomo.volumes.volume import Triple

_TRUNCATE = 3.0  # standard deviations at which the Gaussian is cut


@dataclass(frozen=True)
class WatershedSettings:
    """The input of the watershed, in the units of the stored maps.

    Attributes
    ----------
    smoothing_vx
        Standard deviation of the Gaussian in voxels.
    above_probability, above_distance
        A voxel is foreground where both maps exceed these (0 to 255).
    """

    smoothing_vx: float
    above_probability: int
    above_distance: int

    @property
    def halo_vx(self) -> int:
        """Voxels around a block that its basins depend on."""
        return 2 + int(_TRUNCATE * self.smoothing_vx + 0.5)


@dataclass(frozen=True)
class BasinTask:
    """Write, for each voxel of a block, where its chain of pointers ends.

    Attributes
    ----------
    probability, distance
        Fused maps, uint8 (Z, Y, X).
    terminals
        uint64 (Z, Y, X), written: 1 + index in raster order of the chain's last voxel, which is a
        root inside the block or a voxel just outside; 0 is background.
    """

    probability: zarr.Array
    distance: zarr.Array
    terminals: zarr.Array
    settings: WatershedSettings

    def __call__(self, block: Block) -> dict[str, NDArray[np.generic]]:
        """Return the chains that enter the block and the roots in it."""
        shape = self.probability.shape
        outer = block.grow(self.settings.halo_vx, shape)
        rim = block.grow(2, shape)
        height_zyx = build_height(
            np.asarray(self.probability[outer.region]),
            np.asarray(self.distance[outer.region]),
            self.settings,
        )[rim.within(outer)]
        terminals_zyx, entries = follow_pointers(height_zyx, rim, block, shape)
        self.terminals[block.region] = terminals_zyx
        ends = np.unique(terminals_zyx)
        return {"entry": entries[0], "entry_end": entries[1], "end": ends[ends > 0]}


def build_height(
    probability_zyx: NDArray[np.uint8], distance_zyx: NDArray[np.uint8], settings: WatershedSettings
) -> NDArray[np.uint16]:
    """Add up probability and distance and smooth them.

    Probability falls to nothing before the outline of a particle, distance is steep there and flat
    (capped) in the middle of large ones; their sum has a slope everywhere.

    Parameters
    ----------
    probability_zyx, distance_zyx
        Fused maps (Z, Y, X), 0 to 255.

    Returns
    -------
    ndarray of uint16, (Z, Y, X)
        0 in the background, 1 and more in the foreground.
    """
    height = (probability_zyx.astype(np.float32) + distance_zyx) * np.float32(128)
    if settings.smoothing_vx > 0:
        height = gaussian_filter(height, settings.smoothing_vx, mode="nearest", truncate=_TRUNCATE)
    inside = (probability_zyx > settings.above_probability) & (
        distance_zyx > settings.above_distance
    )
    return np.where(inside, np.clip(np.rint(height), 1, 65535), 0).astype(np.uint16)


def follow_pointers(
    height_zyx: NDArray[np.uint16], rim: Block, block: Block, shape_zyx: Triple
) -> tuple[NDArray[np.uint64], tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """Follow the pointers of a block.

    Parameters
    ----------
    height_zyx
        Map over ``rim``, 0 in the background.
    rim
        The block with a margin of two voxels, cut at the volume's faces.

    Returns
    -------
    terminals_zyx
        Over the block: 1 + raster index in the volume of the end of each chain, 0 background.
    entries
        Voxels of the block that a voxel outside points to, and where their chains end; both as
        1 + raster index.
    """
    padded = np.pad(np.ascontiguousarray(height_zyx), 1)
    core = np.array([[s.start + 1, s.stop + 1] for s in block.within(rim)], dtype=np.int64)
    pointer = np.full(padded.size, -1, dtype=np.int32)
    _point_uphill(padded, core, pointer.reshape(padded.shape))
    origin = np.array([a - 1 for a in rim.start], dtype=np.int64)
    volume = np.array(shape_zyx, dtype=np.int64)
    terminals = np.zeros(block.shape, dtype=np.uint64)
    entry = _find_entries(pointer.reshape(padded.shape), core)
    _follow(pointer, np.array(padded.shape, dtype=np.int64), core, origin, volume, terminals)
    at = np.unravel_index(np.flatnonzero(entry.ravel()), terminals.shape)
    place = np.ravel_multi_index(
        tuple(a + o for a, o in zip(at, block.start, strict=True)), shape_zyx
    )
    return terminals, (place.astype(np.uint64) + np.uint64(1), terminals[at])


def resolve_terminals(
    parts: Sequence[Mapping[str, NDArray[np.generic]]],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Join the chains of all blocks.

    Returns
    -------
    terminal
        All ends of chains inside blocks, ascending.
    root
        The root that each leads to in the end, as 1 + raster index.
    """
    entry = _join(parts, "entry")
    target = _join(parts, "entry_end")
    order = np.argsort(entry)
    entry, target = entry[order], target[order]
    terminal = np.unique(_join(parts, "end"))
    root = terminal.copy()
    while len(entry):
        at = np.minimum(np.searchsorted(entry, root), len(entry) - 1)
        further = np.where(entry[at] == root, target[at], root)
        if np.array_equal(further, root):
            break
        root = further
    return terminal, root


def map_identities(
    values_zyx: NDArray[np.uint64], keys: NDArray[np.uint64], mapped: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Replace each value by the one that a table gives it.

    Parameters
    ----------
    values_zyx
        Identities; those that are no key become 0.

    Returns
    -------
    ndarray of uint32
        Of the shape of ``values_zyx``.
    """
    flat = np.ascontiguousarray(values_zyx).ravel()
    return _look_up(flat, keys, mapped).reshape(values_zyx.shape)  # type: ignore[no-any-return]


def _join(parts: Sequence[Mapping[str, NDArray[np.generic]]], name: str) -> NDArray[np.uint64]:
    columns = [part[name].astype(np.uint64) for part in parts]
    return np.concatenate([np.empty(0, np.uint64), *columns])


@njit(cache=True, nogil=True)
def _point_uphill(height: NDArray[Any], core: NDArray[Any], pointer: NDArray[Any]) -> None:
    """Set, in the core and one voxel around, the local index of the highest neighbour."""
    depth, rows, columns = height.shape
    for z in range(max(1, core[0, 0] - 1), min(depth - 1, core[0, 1] + 1)):
        for y in range(max(1, core[1, 0] - 1), min(rows - 1, core[1, 1] + 1)):
            for x in range(max(1, core[2, 0] - 1), min(columns - 1, core[2, 1] + 1)):
                if height[z, y, x] == 0:
                    continue
                best = np.uint16(0)
                at = 0
                for dz in range(-1, 2):
                    for dy in range(-1, 2):
                        for dx in range(-1, 2):
                            value = height[z + dz, y + dy, x + dx]
                            if value > best:  # raster order: the first of equals stays
                                best = value
                                at = ((z + dz) * rows + y + dy) * columns + x + dx
                pointer[z, y, x] = at


@njit(cache=True, nogil=True)
def _find_entries(pointer: NDArray[Any], core: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark voxels of the core that a voxel around the core points to."""
    depth, rows, columns = pointer.shape
    (z0, z1), (y0, y1), (x0, x1) = core[0], core[1], core[2]
    entry = np.zeros((z1 - z0, y1 - y0, x1 - x0), dtype=np.bool_)
    for z in range(max(0, z0 - 1), min(depth, z1 + 1)):
        for y in range(max(0, y0 - 1), min(rows, y1 + 1)):
            inner = z0 <= z < z1 and y0 <= y < y1
            step = x1 - x0 + 1 if inner else 1
            x = max(0, x0 - 1)
            if inner and x >= x0:
                x = x1
            while x < min(columns, x1 + 1):
                at = pointer[z, y, x]
                if at >= 0:
                    tz, rest = divmod(at, rows * columns)
                    ty, tx = divmod(rest, columns)
                    if z0 <= tz < z1 and y0 <= ty < y1 and x0 <= tx < x1:
                        entry[tz - z0, ty - y0, tx - x0] = True
                x += step
    return entry


@njit(cache=True, nogil=True)
def _follow(  # noqa: PLR0917  (numba takes positions)
    pointer: NDArray[Any],
    shape: NDArray[Any],
    core: NDArray[Any],
    origin: NDArray[Any],
    volume: NDArray[Any],
    terminals: NDArray[Any],
) -> None:
    """Follow each chain of the core to its end and shorten the chains on the way."""
    rows, columns = shape[1], shape[2]
    (z0, z1), (y0, y1), (x0, x1) = core[0], core[1], core[2]
    for z in range(z0, z1):
        for y in range(y0, y1):
            for x in range(x0, x1):
                first = (z * rows + y) * columns + x
                if pointer[first] < 0:
                    continue
                end = first
                while True:
                    tz, rest = divmod(end, rows * columns)
                    ty, tx = divmod(rest, columns)
                    inside = z0 <= tz < z1 and y0 <= ty < y1 and x0 <= tx < x1
                    if not inside or pointer[end] == end:
                        break
                    end = pointer[end]
                at = first
                while at != end:
                    following = pointer[at]
                    pointer[at] = end
                    at = following
                gz, gy, gx = tz + origin[0], ty + origin[1], tx + origin[2]
                terminals[z - z0, y - y0, x - x0] = (gz * volume[1] + gy) * volume[2] + gx + 1


@njit(cache=True, nogil=True)
def _look_up(flat: NDArray[Any], keys: NDArray[Any], mapped: NDArray[Any]) -> NDArray[np.uint32]:
    """Binary search, skipped while the value stays the same."""
    out = np.zeros(flat.size, dtype=np.uint32)
    last = np.uint64(0)
    new = np.uint32(0)
    for at in range(flat.size):
        value = flat[at]
        if value == 0:
            continue
        if value != last:
            last = value
            place = np.searchsorted(keys, value)
            found = place < keys.size and keys[place] == value
            new = mapped[place] if found else np.uint32(0)
        out[at] = new
    return out
