"""Attribution maps, and how much of them lies on particle boundaries, against chance.

A map is scaled to a mean of 1 over its crop.
The ratio is its mean on the boundary band over its mean off it; 1 means that boundaries are not
special to the network. A smooth map can miss 1 by luck, so each map is also placed at random
(shifted around the edges, rotated by 90 degrees, flipped), which preserves its smoothness. Crops of
one area show the same region: they share their placements, and intervals come from resampling whole
areas.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.learning.evaluation.metrics import Interval, bound_draws, draw_areas
from ncm_kedro.params.sem_explain import AttentionParams

GRAD_CAM, GUIDED = "grad_cam", "guided_grad_cam"
MAP_KINDS = (GRAD_CAM, GUIDED)
TRAINED = "(as trained)"
N_ROTATIONS = 4

FloatArray = NDArray[np.float64]

_MIN_OFF = 1e-3
"""Attribution off boundaries counts as this much of the mean at least: ratios stay finite."""


@dataclass(frozen=True)
class AttributionMaps:
    """Evidence for a class, position by position.

    Attributes
    ----------
    grad_cam_nyx
        (N, P, P) float32, 0 or more: Grad-CAM, resized to the image.
    guided_nyx
        (N, P, P) float32: Grad-CAM times the guided gradient, of either sign.
    cell_px
        Side of the part of the image that a value of the coarse map covers, px.
    """

    grad_cam_nyx: NDArray[np.float32]
    guided_nyx: NDArray[np.float32]
    cell_px: float

    def list_strengths(self) -> dict[str, NDArray[np.float32]]:
        """Return both maps as strengths, 0 or more, by `MAP_KINDS`."""
        return {GRAD_CAM: self.grad_cam_nyx, GUIDED: np.abs(self.guided_nyx)}


@dataclass(frozen=True)
class BoundaryScores:
    """Mean attribution on and off the boundary band, crop by crop; NaN where not defined.

    Attributes
    ----------
    on, off
        (N,) of the maps as they are, scaled to a mean of 1.
    placed_on, placed_off
        (N, S) of the maps placed at random.
    """

    on: FloatArray
    off: FloatArray
    placed_on: FloatArray
    placed_off: FloatArray

    def select(self, rows: NDArray[np.bool_]) -> BoundaryScores:
        """Return the scores of some crops."""
        return BoundaryScores(
            self.on[rows], self.off[rows], self.placed_on[rows], self.placed_off[rows]
        )

    @property
    def ratio(self) -> FloatArray:
        """(N,) boundary over interior."""
        return divide(self.on, self.off)

    @property
    def control(self) -> FloatArray:
        """(N,) the same, mean over the random placements."""
        return divide(self.placed_on.mean(axis=1), self.placed_off.mean(axis=1))

    @property
    def p_value(self) -> FloatArray:
        """(N,) fraction of placements, the map itself included, that lie on boundaries as much."""
        above = (self.placed_on >= self.on[:, None] * (1.0 - 1e-9)).sum(axis=1)
        p = (1.0 + above) / (1.0 + self.placed_on.shape[1])
        return np.where(np.isnan(self.on), np.nan, p)


@dataclass(frozen=True)
class CascadeStep:
    """Maps after the weights of one layer more were shuffled.

    Attributes
    ----------
    layer
        Layer that was shuffled last; `TRAINED` before the first.
    correlations
        (N,) rank correlation with the maps of the trained network, by kind; NaN for empty maps.
    first_yx
        (P, P) map of the first crop, by kind.
    """

    layer: str
    correlations: Mapping[str, NDArray[np.float64]]
    first_yx: Mapping[str, NDArray[np.float32]]


def score_boundaries(
    maps_nyx: NDArray[np.float32],
    masks_nyx: NDArray[np.bool_],
    areas: Sequence[str],
    params: AttentionParams,
) -> BoundaryScores:
    """Score maps on their boundary masks, as they are and placed at random.

    Parameters
    ----------
    maps_nyx
        (N, P, P) attribution, 0 or more.
    masks_nyx
        (N, P, P) boundary band.
    areas
        (N,) area of each crop.
    params
        Number of placements and seed.
    """
    on = np.full(len(maps_nyx), np.nan)
    placed = np.full((len(maps_nyx), params.shifts), np.nan)
    covered = masks_nyx.mean(axis=(1, 2), dtype=np.float64)
    for row, (map_yx, mask_yx, area) in enumerate(zip(maps_nyx, masks_nyx, areas, strict=True)):
        total = float(map_yx.mean(dtype=np.float64))
        if total <= 0.0 or not 0.0 < covered[row] < 1.0:
            continue
        scaled = np.asarray(map_yx / total, dtype=np.float64)
        rng = np.random.default_rng([params.seed, zlib.crc32(area.encode())])
        on[row] = scaled[mask_yx].mean()
        placed[row] = [_place(scaled, rng)[mask_yx].mean() for _ in range(params.shifts)]
    return BoundaryScores(on, _find_rest(on, covered), placed, _find_rest(placed, covered[:, None]))


def score_plainly(
    maps_nyx: NDArray[np.float32], masks_nyx: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """Mean on and off the boundary, (N,) each, of maps scaled to a mean of 1; NaN if undefined."""
    total, pixels = (values.sum(axis=(1, 2), dtype=np.float64) for values in (maps_nyx, masks_nyx))
    on_sum = (maps_nyx * masks_nyx).sum(axis=(1, 2), dtype=np.float64)
    covered = pixels / masks_nyx[0].size
    on = divide(divide(on_sum, total), covered)
    return on, _find_rest(on, covered)


def score_other_maps(
    maps_nyx: NDArray[np.float32], masks_nyx: NDArray[np.bool_], areas: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    """Mean on and off each crop's boundary band, (N,) each, of the maps of all other areas' crops.

    It shows the effect of position alone, such as a map that fades towards the edges.
    """
    flat = maps_nyx.reshape(len(maps_nyx), -1).astype(np.float64)
    mean = flat.mean(axis=1, keepdims=True)
    scaled = np.divide(flat, mean, out=np.full_like(flat, np.nan), where=mean > 0)
    masks = masks_nyx.reshape(len(masks_nyx), -1).astype(np.float64)
    names = np.asarray(areas, dtype=str)
    is_other_area = (names[:, None] != names) & (mean[:, 0] > 0)
    count, pixels = is_other_area.sum(axis=1, keepdims=True), masks.sum(axis=1)
    mixed = divide(is_other_area @ np.nan_to_num(scaled), count)
    on = divide((mixed * masks).sum(axis=1), pixels)
    off = divide((mixed * (1.0 - masks)).sum(axis=1), masks.shape[1] - pixels)
    return on, off


def blur_to_cells(masks_nyx: NDArray[np.bool_], cell_px: float) -> NDArray[np.float32]:
    """Show masks (N, P, P) at the resolution of a coarse map.

    The ratio of such a map is the upper bound for a network that looks at boundaries alone, seen
    through its coarse map.
    """
    import torch
    from torch.nn import functional

    size = masks_nyx.shape[-2:]
    cells = [max(1, round(side / cell_px)) for side in size]
    masks = torch.from_numpy(masks_nyx[:, None].astype(np.float32))
    small = functional.interpolate(masks, size=cells, mode="area")
    maps = functional.interpolate(small, size=size, mode="bilinear", align_corners=False)
    return np.asarray(maps[:, 0].numpy())


def resample_ratio(
    on: FloatArray, off: FloatArray, areas: Sequence[str], params: AttentionParams
) -> Interval:
    """Pooled ratio of crops (mean on over mean off) with its interval over areas.

    Parameters
    ----------
    on, off
        (N,) means on and off the boundary; crops with NaN are excluded.
    areas
        (N,) area of each crop.
    params
        Resamples, confidence, seed.

    Returns
    -------
    dict
        `value`, `low`, `high`. All None without crops; no interval where crops lie in fewer than
        `MIN_AREAS` areas.
    """
    defined = ~(np.isnan(on) | np.isnan(off))
    if not defined.any():
        return {"value": None, "low": None, "high": None}
    value = float(on[defined].mean() / off[defined].mean())
    low, high = bound_draws(*draw_ratios(on, off, areas, params), params.resampling)
    return {"value": value, "low": low, "high": high}


def draw_ratios(
    on: FloatArray, off: FloatArray, areas: Sequence[str], params: AttentionParams
) -> tuple[FloatArray, int]:
    """(n_bootstrap,) pooled ratios of resampled areas, and the number of areas.

    Crops with NaN are excluded. The same areas give the same resamples.
    """
    defined = ~(np.isnan(on) | np.isnan(off))
    names, area, weights = draw_areas(np.asarray(areas, dtype=str)[defined], params.resampling)
    sums = [weights @ np.bincount(area, v[defined], minlength=len(names)) for v in (on, off)]
    return divide(*sums), len(names)


def pool_p_value(scores: BoundaryScores) -> float | None:
    """Fraction of placements of all maps together that lie on boundaries as much as the maps do."""
    defined = ~np.isnan(scores.on)
    if not defined.any():
        return None
    found = scores.on[defined].mean() / scores.off[defined].mean()
    placed = scores.placed_on[defined].mean(axis=0) / scores.placed_off[defined].mean(axis=0)
    return float((1.0 + (placed >= found).sum()) / (1.0 + len(placed)))


def divide(one: FloatArray, other: FloatArray) -> FloatArray:
    """Quotient, NaN where the divisor is 0 or less."""
    one, other = np.broadcast_arrays(one, other)
    quotient: FloatArray = np.full(one.shape, np.nan)
    np.divide(one, other, out=quotient, where=other > 0)
    return quotient


def _find_rest(on: FloatArray, covered: FloatArray) -> FloatArray:
    """Mean off the boundary, where the mean of the whole map is 1; see `_MIN_OFF`."""
    off = divide(1.0 - covered * on, np.asarray(1.0 - covered))
    return np.where(np.isnan(off), np.nan, np.maximum(off, _MIN_OFF))


def _place(map_yx: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Rotate, flip and shift a map around its edges, at random."""
    rotated = np.rot90(map_yx, int(rng.integers(N_ROTATIONS)))
    flipped = rotated[:, ::-1] if rng.integers(2) else rotated
    shift = (int(rng.integers(map_yx.shape[0])), int(rng.integers(map_yx.shape[1])))
    return np.roll(flipped, shift, axis=(0, 1))
