"""The outline of one particle, fitted to the grey values around it.

A particle is brighter than its surrounding. The threshold between the two is its own: Otsu's
(1979, IEEE Trans. SMC 9, eq. 18) on the histograms of the two, each weighing one half, so that a
large particle does not drown a thin surrounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from ncm_kedro.params.tomo_segment import RefineParams
from ncm_kedro.tomo.volumes.volume import Spacing, Triple

Mask = NDArray[np.bool_]
_BACKGROUND_CONNECTIVITY = 6
_WINDOW_VX = 5
_MEDIAN_STEP = 0.954  # median step between two normal values, in their standard deviations
_SHY = 0.1  # just under whole voxels, a closing keeps the outermost layer of a crack's mouth


@dataclass(frozen=True)
class RefineLengths:
    """Lengths of a refinement in um, and the margin in voxels that a cut-out needs for them.

    Attributes
    ----------
    trim_um, grow_um, closing_um, opening_um
        See ``RefineParams``; the larger of its um and voxel values.
    inset_um
        How far inside the outline the watershed stopped.
    """

    trim_um: float
    grow_um: float
    closing_um: float
    opening_um: float
    inset_um: float
    margin_zyx: Triple

    @classmethod
    def of(
        cls, params: RefineParams, voxel_size_um: Spacing, inset_um: float = 0.0
    ) -> RefineLengths:
        """Work out the lengths for a voxel size.

        Parameters
        ----------
        inset_um
            How far inside the outline the watershed stopped; added to what may be grown.
        """
        edge = float(np.cbrt(np.prod(voxel_size_um)))
        grow = max(params.grow_um, params.grow_vx * edge) + inset_um
        closing = max(params.closing_um, params.closing_vx * edge)
        closing = edge * (np.ceil(closing / edge) - _SHY) if closing > 0 else 0.0
        margin = [int(np.ceil((grow + closing) / size)) + 2 for size in voxel_size_um]
        return cls(
            trim_um=max(params.trim_um, params.trim_vx * edge),
            grow_um=grow,
            closing_um=float(closing),
            opening_um=params.opening_vx * edge,
            inset_um=inset_um,
            margin_zyx=(margin[0], margin[1], margin[2]),
        )


def balance_otsu(inside: NDArray[np.generic], outside: NDArray[np.generic]) -> float:
    """Find the threshold between a particle and its surrounding.

    Parameters
    ----------
    inside, outside
        Histograms over the same bins, (n,).

    Returns
    -------
    float
        Upper edge, in bins, of the last bin that counts as dark; not a number where a histogram is
        empty or the particle is not brighter than its surrounding.
    """
    if not inside.sum() or not outside.sum():
        return float("nan")
    bins = np.arange(len(inside))
    bright = inside / inside.sum()
    dark = outside / outside.sum()
    if bright @ bins <= dark @ bins:
        return float("nan")
    weight = np.cumsum(bright + dark) / 2
    moment = np.cumsum((bright + dark) * bins) / 2
    spread = weight * (1 - weight)
    between = np.zeros(len(bins))
    split = spread > 1e-12
    between[split] = (moment[-1] * weight[split] - moment[split]) ** 2 / spread[split]
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(best.mean() + 1)


def refine_particle(
    grey_zyx: NDArray[np.float32],
    labels_zyx: NDArray[np.uint32],
    label: int,
    threshold: float,
    *,
    voxel_size_um: Spacing,
    reach: RefineLengths,
    params: RefineParams,
    at_face: tuple[tuple[bool, bool], ...] = ((False, False),) * 3,
) -> tuple[Mask, Mask]:
    """Fit one particle to the grey values.

    Parameters
    ----------
    grey_zyx
        Cut-out with a margin of ``reach.margin_zyx``, (Z, Y, X).
    at_face
        Whether the low and high end of each axis are faces of the volume, where the particle goes
        on unseen rather than ends.

    Returns
    -------
    filled_zyx
        The particle with its voids and cracks.
    crack_zyx
        Those voids and cracks.
    """
    calm_zyx = grey_zyx
    if params.smoothing_vx > 0:
        calm_zyx = gaussian_filter(grey_zyx, params.smoothing_vx, mode="nearest")
    flat_zyx = calm_zyx
    if params.outline_smoothing > 0:
        flat_zyx = flatten_noise(grey_zyx, params.outline_smoothing)
    margin = reach.margin_zyx
    pads = [(width * low, width * high) for width, (low, high) in zip(margin, at_face, strict=True)]
    own = np.pad(labels_zyx == label, pads, mode="edge")
    others = np.pad((labels_zyx != 0) & (labels_zyx != label), pads, mode="edge")
    bright = np.pad(calm_zyx > threshold, pads, mode="edge")
    outlined = np.pad(flat_zyx > threshold, pads, mode="edge")
    distance = _Distance(voxel_size_um)
    away = distance(~own)
    domain = own | ((away <= reach.grow_um) & ~others & (away <= distance(~others)))
    solid = bright & domain
    core = own & (distance(own) > reach.trim_um)
    kept = (outlined & domain) | core
    if reach.closing_um > 0:
        closed = distance(distance(~kept) <= reach.closing_um) > reach.closing_um
        kept |= closed & domain & (away <= reach.inset_um)
    if reach.opening_um > 0:
        eroded = distance(kept) > reach.opening_um
        kept = ((distance(~eroded) <= reach.opening_um) & kept) | core
    filled = fill_voids(keep_largest(kept), pads) & ~others
    crack = _mark_cracks(filled & ~solid, distance(filled), max(voxel_size_um), params)
    inner = tuple(
        slice(low, size - high) for (low, high), size in zip(pads, filled.shape, strict=True)
    )
    return filled[inner], crack[inner]


def flatten_noise(grey_zyx: NDArray[np.float32], steps: float) -> NDArray[np.float32]:
    """Smooth grey values between edges, by a guided filter (He et al. 2013, IEEE TPAMI 35, 1397).

    Parameters
    ----------
    steps
        Standard deviations of the noise from which a local contrast counts as an edge. The noise
        is that of neighbours along x, most of which lie in one phase.
    """
    deviation = np.median(np.abs(np.diff(grey_zyx, axis=2))) / _MEDIAN_STEP
    centre = grey_zyx.mean()  # squares of grey values far from zero would lose their differences
    grey = grey_zyx - centre
    mean = _average(grey)
    variance = np.maximum(_average(grey * grey) - mean * mean, 0)
    edge = variance / (variance + np.float32((steps * deviation) ** 2) + np.finfo(np.float32).tiny)
    return np.asarray(_average(edge) * grey + _average(mean * (1 - edge)) + centre, np.float32)


def _average(array_zyx: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(uniform_filter(array_zyx, _WINDOW_VX, mode="nearest"))


def keep_largest(mask_zyx: Mask) -> Mask:
    """Keep the largest connected part (26 neighbours; of equals the first).

    Parameters
    ----------
    mask_zyx
        Any mask, (Z, Y, X).
    """
    parts, count = cc3d.connected_components(
        mask_zyx, connectivity=26, return_N=True, binary_image=True
    )
    if count <= 1:
        return mask_zyx
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    return np.asarray(parts == int(sizes.argmax()))


def fill_voids(mask_zyx: Mask, open_pads: list[tuple[int, int]] | None = None) -> Mask:
    """Fill what a mask encloses.

    Parameters
    ----------
    mask_zyx
        Any mask, (Z, Y, X).
    open_pads
        Padding at the low and high end of each axis that stands for what lies beyond the volume;
        a void that runs out of the cut-out through one such end alone is filled too.

    Returns
    -------
    ndarray of bool, (Z, Y, X)
    """
    outside, count = cc3d.connected_components(
        ~mask_zyx, connectivity=_BACKGROUND_CONNECTIVITY, return_N=True, binary_image=True
    )
    ends = np.zeros(count + 1, dtype=np.int64)
    for axis in range(mask_zyx.ndim):
        for side in (0, 1):
            face = np.unique(np.take(outside, -side, axis=axis))
            beyond = open_pads is not None and open_pads[axis][side] > 0
            ends[face] += 1 if beyond else 2
    enclosed = ends < 2
    enclosed[0] = True
    return enclosed[outside]  # type: ignore[no-any-return]


class _Distance:
    """Distance in um of each voxel of a mask to the nearest voxel outside it."""

    def __init__(self, voxel_size_um: Spacing) -> None:
        self._edges = voxel_size_um

    def __call__(self, mask_zyx: Mask) -> NDArray[np.float32]:
        found = edt.edt(np.ascontiguousarray(mask_zyx), anisotropy=self._edges, parallel=1)
        return np.asarray(found, dtype=np.float32)


def _mark_cracks(
    dark_zyx: Mask, depth_um: NDArray[np.float32], edge_um: float, params: RefineParams
) -> Mask:
    """Keep dark parts that are large enough and reach below the blurred skin."""
    parts, count = cc3d.connected_components(
        dark_zyx, connectivity=26, return_N=True, binary_image=True
    )
    size = np.bincount(parts.ravel(), minlength=count + 1)
    deep = np.zeros(count + 1, dtype=bool)
    deep[np.unique(parts[dark_zyx & (depth_um > 2 * edge_um)])] = True
    keep = deep & (size >= params.min_crack_vx)
    keep[0] = False
    return keep[parts]  # type: ignore[no-any-return]
