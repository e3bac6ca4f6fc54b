"""Where in a particle its cracks are: voxels counted in shells from surface to core.

What is measured on each particle's own cut-out: its filling, cracks, roughness and pieces.

A particle is cut out and measured once, by the block that holds the first corner of its bounding
box. Small ones of a block come out of one read and are worked off by one compiled call, so that
what a particle costs is its voxels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
from numba import njit
from numpy.typing import NDArray

from ncm_kedro.particles.block_sums import LINES, list_steps
from ncm_kedro.particles.kernels.crack_width import measure_crack_width
from ncm_kedro.particles.kernels.cutouts import COUNTS, ROUGHNESS, fill_one, list_bars, measure_all
from ncm_kedro.particles.specimen import Specimen, read_box, read_labels
from ncm_kedro.tomo.volumes.blocks import Block
from ncm_kedro.tomo.volumes.volume import Spacing


def count_shells(
    depth_um_zyx: NDArray[np.float32],
    filled_zyx: NDArray[np.bool_],
    crack_zyx: NDArray[np.bool_],
    bins: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count a particle's voxels, and those of its cracks, in shells of equal normalised depth.

    Parameters
    ----------
    depth_um_zyx
        Distance of each voxel's centre to the nearest one outside ``filled_zyx``, (Z, Y, X), as
        a distance transform gives it. The surface stands half a voxel before that one, so that
        half the smallest distance is taken off. Where nothing is outside, it may be infinite:
        that is the core.
    filled_zyx
        The particle with its cracks and voids, (Z, Y, X).
    crack_zyx
        Cracks and voids, (Z, Y, X); those outside ``filled_zyx`` do not count.
    bins
        Shells; shell ``i`` holds normalised depths from ``i / bins`` to ``(i + 1) / bins``, 0 at
        the surface and 1 in the core.

    Returns
    -------
    voxels, crack_voxels
        Voxels of the particle and of its cracks in each shell, (bins,).
    """
    voxels = np.zeros(bins, dtype=np.int64)
    crack_voxels = np.zeros(bins, dtype=np.int64)
    if bins:
        _count(depth_um_zyx, filled_zyx, crack_zyx, voxels, crack_voxels)
    return voxels, crack_voxels


@njit(cache=True, nogil=True)
def _count(
    depth: NDArray[Any],
    filled: NDArray[Any],
    crack: NDArray[Any],
    voxels: NDArray[Any],
    crack_voxels: NDArray[Any],
) -> None:
    deepest, surface = 0.0, np.inf
    for z, y, x in np.ndindex(filled.shape):
        if filled[z, y, x] and 0 < depth[z, y, x] < np.inf:
            deepest = max(deepest, float(depth[z, y, x]))
            surface = min(surface, 0.5 * float(depth[z, y, x]))
    last = len(voxels) - 1
    for z, y, x in np.ndindex(filled.shape):
        if filled[z, y, x]:
            shell = last
            if depth[z, y, x] < deepest:
                share = (float(depth[z, y, x]) - surface) / (deepest - surface)
                shell = min(int(max(share, 0.0) * len(voxels)), last)
            voxels[shell] += 1
            crack_voxels[shell] += crack[z, y, x] != 0


_SHARED_VX = 64
_MIN_ROUGHNESS_VX = 2.0
_SHY = 0.1

Region = tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.uint8]]
"""Labels, cracks and field of view of a box; the latter two have no voxels where there are none."""


@dataclass(frozen=True)
class CutoutSettings:
    """Lengths and choices of the work on cut-outs.

    Attributes
    ----------
    closing_um
        Radius of the closing.
    tight
        Whether open cracks are closed for the damage alone, within the tight bounding box, as in
        the published code; all else is then measured on the label and its enclosed voids.
    roughness_um
        Radius of the ball that roughness is measured with; at least two voxels are taken.
    profile_bins
        Shells of the crack profile; 0: none.
    crack_width
        Whether the width of cracks is measured.
    """

    closing_um: float
    tight: bool
    roughness_um: float
    profile_bins: int
    crack_width: bool

    def radii_um(
        self, voxel_size_um: Spacing, equivalent_um: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the radius of the closing for each particle, (n,).

        It is no more than half the particle's own equivalent radius, and just under a whole
        number of voxels: on a grid, a closing by a whole number or a little more takes the
        outermost layer off a crack's mouth.

        Parameters
        ----------
        equivalent_um
            Radii of balls of the labels' volumes, (n,).
        """
        if self.tight or self.closing_um == 0:
            return np.full(len(equivalent_um), self.closing_um)
        edge = float(np.cbrt(np.prod(voxel_size_um)))
        wanted = np.minimum(self.closing_um, equivalent_um / 2)
        return edge * (np.maximum(1.0, np.rint(wanted / edge + _SHY)) - _SHY)

    def ball_um(self, voxel_size_um: Spacing) -> float:
        """Return the radius of the ball for the roughness."""
        return max(self.roughness_um, _MIN_ROUGHNESS_VX * float(np.cbrt(np.prod(voxel_size_um))))


@dataclass(frozen=True)
class CutoutTask:
    """Measure the particles that belong to a block.

    Attributes
    ----------
    specimen
        The volume.
    ids
        Labels, ascending, (n,).
    box
        Bounding boxes, start and stop, (n, 6).
    owner
        Index of the block that measures each particle, -1 for none, (n,).
    voxels
        Voxels of each, (n,).
    settings
        Lengths and choices.
    """

    specimen: Specimen
    ids: NDArray[np.int64]
    box: NDArray[np.int64]
    owner: NDArray[np.int64]
    voxels: NDArray[np.int64]
    settings: CutoutSettings

    def __call__(self, block: Block) -> dict[str, NDArray[np.generic]]:
        """Return what was measured.

        Returns
        -------
        dict
            ``row`` (n,), positions in ``ids``; ``counts`` (n, 15) in the order of `COUNTS`, with
            coordinates in voxels of the volume; ``crossings`` (n, 13) of the filled particle;
            ``rough`` (n, 6) in the order of `ROUGHNESS`, heights in um; ``shells`` (n, 2, bins);
            ``width`` (n, 2), mean and largest width of cracks in um.
        """
        settings, voxel_size_um = self.settings, self.specimen.voxel_size_um
        bins = settings.profile_bins
        ball_um = settings.ball_um(voxel_size_um)
        bars = list_bars(ball_um, voxel_size_um)
        steps = list_steps(voxel_size_um)
        edges = np.array(voxel_size_um, dtype=np.float32)
        parts: list[tuple[NDArray[Any], ...]] = []
        for rows, region, start in self._read_groups(block):
            radii_um, cuts = self._list_cuts(rows)
            smooth = self._find_equivalent(rows) >= 2 * ball_um
            counts, crossings, rough = measure_all(
                *region, start, cuts, self.ids[rows], edges, radii_um, settings.tight, smooth,
                bars, ball_um, steps,
            )  # fmt: skip
            shells = np.zeros((len(rows), 2, bins), dtype=np.int64)
            width = np.full((len(rows), 2), np.nan)
            if bins or settings.crack_width:
                for at, row in enumerate(rows):
                    filled, solid, _, _ = fill_one(
                        *region, start, cuts[at], int(self.ids[row]), edges, float(radii_um[at]),
                        settings.tight,
                    )  # fmt: skip
                    shells[at], width[at] = self._measure_cracks(filled, solid)
            parts.append((rows, counts, crossings, rough, shells, width))
        names = ("row", "counts", "crossings", "rough", "shells", "width")
        if not parts:
            parts.append(_empty_part(bins))
        return {name: np.concatenate([part[n] for part in parts]) for n, name in enumerate(names)}

    def _read_groups(
        self, block: Block
    ) -> Iterator[tuple[NDArray[np.int64], Region, NDArray[np.int64]]]:
        """Yield rows with the voxels that hold them: the small ones together, large ones alone."""
        shape = self.specimen.shape_zyx
        rows = np.flatnonzero(self.owner == block.index)
        room = block.grow(_SHARED_VX, shape)
        fits = (self.box[rows, :3] >= room.start).all(axis=1)
        fits &= (self.box[rows, 3:] <= room.stop).all(axis=1)
        groups = [rows[fits]] * bool(fits.any()) + [np.array([row]) for row in rows[~fits]]
        for group in groups:
            cuts = self._list_cuts(group)[1]
            low = np.maximum(cuts[:, 2].min(axis=0), 0)
            high = np.minimum(cuts[:, 3].max(axis=0), shape)
            yield group, self._read(Block(0, tuple(low.tolist()), tuple(high.tolist()))), low

    def _read(self, cut: Block) -> Region:
        specimen = self.specimen
        nothing = np.zeros((0, 0, 0), dtype=np.uint8)
        return (
            read_labels(specimen, cut),
            nothing if specimen.cracks is None else read_box(specimen.cracks, cut),
            nothing if specimen.view is None else read_box(specimen.view, cut),
        )

    def _list_cuts(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """List radii of the closing (n,), and cuts (n, 5, 3).

        Rows of a cut: start and stop of the box; start and stop of the cut-out with its margin,
        which may reach beyond the volume; stop of the volume.
        """
        voxel_size_um = self.specimen.voxel_size_um
        radii_um = self.settings.radii_um(voxel_size_um, self._find_equivalent(rows))
        reach_um = np.zeros(len(rows)) if self.settings.tight else radii_um
        margin = (reach_um[:, None] / np.array(voxel_size_um) + 1e-6).astype(np.int64) + 2
        margin = np.maximum(margin, np.abs(list_steps(voxel_size_um)).max(axis=0) + 1)
        low, high = self.box[rows, :3], self.box[rows, 3:]
        end = np.broadcast_to(np.array(self.specimen.shape_zyx), low.shape)
        return radii_um, np.stack([low, high, low - margin, high + margin, end], axis=1)

    def _find_equivalent(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the radii of balls of the labels' volumes in um, (n,)."""
        volume_um3 = self.voxels[rows] * float(np.prod(self.specimen.voxel_size_um))
        return np.asarray(np.cbrt(3 * volume_um3 / (4 * np.pi)))

    def _measure_cracks(
        self, filled: NDArray[np.uint8], solid: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], tuple[float, float]]:
        bins, voxel_size_um = self.settings.profile_bins, self.specimen.voxel_size_um
        crack = (filled > 0) & (solid == 0)
        shells = np.zeros((2, bins), dtype=np.int64)
        if bins:
            depth_um = edt.edt(filled, anisotropy=voxel_size_um, parallel=1)
            shells = np.stack(count_shells(depth_um, filled > 0, crack, bins))
        if self.settings.crack_width and crack.any():
            return shells, measure_crack_width(crack, voxel_size_um)
        return shells, (np.nan, np.nan)


def _empty_part(bins: int) -> tuple[NDArray[Any], ...]:
    return (
        np.zeros(0, np.int64), np.zeros((0, len(COUNTS)), np.int64), np.zeros((0, LINES), np.int64),
        np.zeros((0, len(ROUGHNESS))), np.zeros((0, 2, bins), np.int64), np.zeros((0, 2)),
    )  # fmt: skip
