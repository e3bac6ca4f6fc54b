"""From the candidates that agree on a particle to its outline.

Each candidate inside a particle predicts the whole outline. Their mean is better than the one
that the non-maximum suppression keeps, as its errors are partly independent; and where two
particles touch, a pixel goes to the one that more of its own candidates claim.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ncm_kedro.tomo.section_candidates import Candidates

FloatArray = NDArray[np.float32]

_MAX_VOTERS = 256  # candidates per particle
_MARGIN_PX = 2


def vote_outlines(
    candidates: Candidates,
    winners: NDArray[np.intp],
    shape_yx: tuple[int, int],
    *,
    weights_n: FloatArray,
    agreement: float,
    central: float,
) -> NDArray[np.int32]:
    """Let all candidates of a particle vote on its pixels.

    Parameters
    ----------
    candidates
        All candidates.
    winners
        Numbers of the candidates that stand for a particle, best first.
    shape_yx
        Rows and columns of the section.
    weights_n
        Weight of each candidate's vote.
    agreement
        Share of the candidates' weight that must claim a pixel, 0 to 1.
    central
        A candidate belongs to a particle if its centre lies within this share of the winner's
        reach, 0 to 1.

    Returns
    -------
    ndarray of int32
        Labels (H, W), 1 + position in `winners`, in one piece each and without holes.
    """
    best = np.full(shape_yx, agreement, np.float32)
    labels = np.zeros(shape_yx, np.int32)
    reach = candidates.dist_nk.max(axis=1)
    for number, winner in enumerate(winners, start=1):
        voters = _find_voters(candidates, winner, weights_n, central)
        corners = candidates.points_nc[voters]
        low = np.floor((corners - reach[voters, None]).min(axis=0)).astype(int) - _MARGIN_PX
        high = np.ceil((corners + reach[voters, None]).max(axis=0)).astype(int) + _MARGIN_PX
        low, high = np.maximum(low, 0), np.minimum(high, shape_yx)
        if (high <= low).any():
            continue
        window = (slice(low[0], high[0]), slice(low[1], high[1]))
        share = count_votes(
            corners - low.astype(np.float32), candidates.dist_nk[voters],
            weights_n[voters], high[0] - low[0], high[1] - low[1],
        )  # fmt: skip
        won = share > best[window]
        best[window][won] = share[won]
        labels[window][won] = number
    return tidy_labels(labels)


def _find_voters(
    candidates: Candidates, winner: np.intp, weights_n: FloatArray, central: float
) -> NDArray[np.intp]:
    """Find candidates near the winner's centre and of about its size, those of most weight."""
    offset = candidates.points_nc - candidates.points_nc[winner]
    n_rays = candidates.dist_nk.shape[1]
    away = np.hypot(offset[:, 0], offset[:, 1])
    near = np.flatnonzero(away <= candidates.dist_nk[winner].max() * central)
    ray = np.rint(np.arctan2(offset[near, 0], offset[near, 1]) * n_rays / (2 * np.pi)).astype(int)
    inside = away[near] <= candidates.dist_nk[winner, ray % n_rays] * central
    near = near[inside]
    ratio = candidates.dist_nk[near].mean(axis=1) / candidates.dist_nk[winner].mean()
    alike = near[(ratio > 0.7) & (ratio < 1 / 0.7)]
    ranked = alike[np.argsort(-weights_n[alike], kind="stable")]
    voters: NDArray[np.intp] = ranked[:_MAX_VOTERS]
    return voters


@numba.njit(nogil=True, cache=True, error_model="numpy")
def count_votes(
    points_nc: FloatArray, dist_nk: FloatArray, weights_n: FloatArray, height: int, width: int
) -> FloatArray:
    """Return for each pixel the weighted share of polygons that hold its centre.

    Parameters
    ----------
    points_nc
        Centres (N, 2) as y, x, in px of the window.
    dist_nk
        Distances to the outline (N, n_rays).
    weights_n
        Weight of each polygon.
    height, width
        Of the window.

    Returns
    -------
    ndarray of float32
        Shares (height, width), 0 to 1.
    """
    n_rays = dist_nk.shape[1]
    angles = 2 * np.pi / n_rays * np.arange(n_rays)
    sines, cosines = np.sin(angles), np.cos(angles)
    change = np.zeros((height, width + 1))  # of the share from one pixel to the next in a row
    total = weights_n.sum()
    for n in range(len(points_nc)):
        weight = weights_n[n] / total
        y_from = points_nc[n, 0] + dist_nk[n, -1] * sines[-1]
        x_from = points_nc[n, 1] + dist_nk[n, -1] * cosines[-1]
        for k in range(n_rays):
            y_to = points_nc[n, 0] + dist_nk[n, k] * sines[k]
            x_to = points_nc[n, 1] + dist_nk[n, k] * cosines[k]
            step = -weight if y_to > y_from else weight
            first = max(0, int(np.ceil(min(y_from, y_to))))
            last = min(height, int(np.ceil(max(y_from, y_to))))
            for y in range(first, last):
                x = x_from + (y - y_from) * (x_to - x_from) / (y_to - y_from)
                change[y, min(max(int(np.ceil(x)), 0), width)] += step
            y_from, x_from = y_to, x_to
    share = np.zeros((height, width), np.float32)
    for y in range(height):
        level = 0.0
        for x in range(width):
            level += change[y, x]
            share[y, x] = level
    return share


def tidy_labels(labels_yx: NDArray[np.int32]) -> NDArray[np.int32]:
    """Keep the largest piece of each label and fill what it encloses.

    Parameters
    ----------
    labels_yx
        Labels (H, W), 0 for background.

    Returns
    -------
    ndarray of int32
        Labels of the same numbers.
    """
    tidy = np.zeros_like(labels_yx)
    for number, region in enumerate(ndimage.find_objects(labels_yx), start=1):
        if region is None:
            continue
        pieces, count = ndimage.label(labels_yx[region] == number)
        if count > 1:
            pieces = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
        filled = ndimage.binary_fill_holes(pieces > 0)
        target = tidy[region]
        target[filled & (target == 0)] = number
    return tidy
