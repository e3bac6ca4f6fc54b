"""Star-convex candidates in one section, and the outlines that they agree on.

Each candidate inside a particle predicts the whole outline. Their mean is better than the one
that the non-maximum suppression selects, as its errors are partly independent; and where two
particles touch, a pixel goes to the one that more of its own candidates claim.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from stardist.nms import non_maximum_suppression_inds

from ncm_kedro.tomo.detector.detector import Detector, SectionPrediction

FloatArray = NDArray[np.float32]

_MAX_VOTERS = 256  # candidates per particle
_MARGIN_PX = 2
_MAX_CANDIDATES = 60_000  # the most confident ones; a section of 4 Mpx has fewer


@dataclass(frozen=True)
class Candidates:
    """Star-convex polygons, lengths in px of the section.

    Attributes
    ----------
    points_nc
        Centres (N, 2) as y, x.
    dist_nk
        Distances to the outline (N, n_rays).
    prob_n
        Predicted probability, 0 to 1.
    """

    points_nc: FloatArray
    dist_nk: FloatArray
    prob_n: FloatArray

    def __len__(self) -> int:
        return len(self.prob_n)

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Candidates:
        """Return some of the candidates."""
        return Candidates(self.points_nc[chosen], self.dist_nk[chosen], self.prob_n[chosen])

    @property
    def diameters_px(self) -> FloatArray:
        """Diameter of the circle of equal area, of each candidate."""
        step = 2 * np.pi / self.dist_nk.shape[1]
        areas = 0.5 * np.sin(step) * (self.dist_nk * np.roll(self.dist_nk, 1, axis=1)).sum(axis=1)
        diameters: FloatArray = (2 * np.sqrt(np.maximum(areas, 0) / np.pi)).astype(np.float32)
        return diameters

    @property
    def polygons_nkc(self) -> FloatArray:
        """Corners (N, n_rays, 2) as y, x."""
        angles = 2 * np.pi * np.arange(self.dist_nk.shape[1]) / self.dist_nk.shape[1]
        rays = np.stack([np.sin(angles), np.cos(angles)], axis=-1).astype(np.float32)
        corners: FloatArray = self.points_nc[:, None] + self.dist_nk[..., None] * rays
        return corners


def join_candidates(parts: list[Candidates]) -> Candidates:
    """Put candidates of several predictions into one list."""
    return Candidates(
        np.concatenate([part.points_nc for part in parts]),
        np.concatenate([part.dist_nk for part in parts]),
        np.concatenate([part.prob_n for part in parts]),
    )


def predict_candidates(
    image_yx: FloatArray, detector: Detector, *, scale: float, threshold: float, turns: bool
) -> Candidates:
    """Predict the candidates of a section at one scale.

    Parameters
    ----------
    image_yx
        Normalised section (H, W).
    scale
        Factor by which the section is enlarged for the network.
    threshold
        Least probability of a candidate.
    turns
        Whether to average over flips and rotations by 90 degrees.

    Returns
    -------
    Candidates
        In px of the section that was passed in.
    """
    resized = _resize(image_yx, scale)
    found = predict_with_tta(resized, detector) if turns else detector.predict(resized[None])
    prob, dist = found.prob_nyx[0], found.dist_nkyx[0]
    rows, columns = np.nonzero(prob > threshold)
    if len(rows) > _MAX_CANDIDATES:
        best = np.argpartition(prob[rows, columns], -_MAX_CANDIDATES)[-_MAX_CANDIDATES:]
        rows, columns = rows[best], columns[best]
    ratio = np.array(resized.shape) / image_yx.shape
    points = (np.stack([rows, columns], axis=-1) * detector.grid + 0.5) / ratio - 0.5
    reach = np.maximum(dist[:, rows, columns].T, 1e-3) / float(np.sqrt(ratio.prod()))
    return Candidates(
        points.astype(np.float32), reach.astype(np.float32), prob[rows, columns].copy()
    )


def predict_with_tta(image_yx: FloatArray, detector: Detector) -> SectionPrediction:
    """Average a prediction over the flips and rotations by 90 degrees that map rays onto rays.

    Height and width are made odd, so that the grid of a flipped section falls on the section's
    own grid. Needs a number of rays that 4 divides for rotations, and an even one for flips.
    """
    height, width = image_yx.shape
    odd = np.pad(image_yx, ((0, 1 - height % 2), (0, 1 - width % 2)), mode="edge")
    n_rays = detector.n_rays
    rays = np.arange(n_rays)
    grid, turns = detector.grid, 0
    rows, columns = -(-height // grid), -(-width // grid)
    total_prob: FloatArray = np.zeros((rows, columns), np.float32)
    total_dist: FloatArray = np.zeros((n_rays, rows, columns), np.float32)
    for swap in (False, True) if n_rays % 4 == 0 else (False,):
        for flip_y in (False, True):
            for flip_x in (False, True) if n_rays % 2 == 0 else (False,):
                rotated = odd.T if swap else odd
                rotated = rotated[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
                found = detector.predict(np.ascontiguousarray(rotated)[None])
                prob, dist = found.prob_nyx[0], found.dist_nkyx[0]
                back = (slice(None, None, -1 if flip_y else 1),
                        slice(None, None, -1 if flip_x else 1))  # fmt: skip
                order = rays
                if swap:
                    order = n_rays // 4 - order
                if flip_y:
                    order = -order
                if flip_x:
                    order = n_rays // 2 - order
                prob, dist = prob[back], dist[order % n_rays][:, *back]
                total_prob += (prob.T if swap else prob)[:rows, :columns]
                total_dist += (dist.transpose(0, 2, 1) if swap else dist)[:, :rows, :columns]
                turns += 1
    count = np.float32(turns)
    return SectionPrediction(total_prob[None] / count, total_dist[None] / count)


def suppress_overlaps(
    candidates: Candidates, *, max_overlap: float, scores_n: FloatArray | None = None
) -> NDArray[np.intp]:
    """Choose the candidates that no better one covers (non-maximum suppression).

    Parameters
    ----------
    max_overlap
        Overlap, as a fraction of the smaller one's area, above which the worse of two goes.
    scores_n
        What decides which is better; the probability if None.

    Returns
    -------
    ndarray of int
        Numbers of the chosen candidates, best first.
    """
    scores = candidates.prob_n if scores_n is None else scores_n
    order = np.argsort(-scores, kind="stable")
    ranked = candidates.take(order)
    kept = non_maximum_suppression_inds(
        ranked.dist_nk, ranked.points_nc, scores[order], thresh=max_overlap, verbose=False
    )
    chosen: NDArray[np.intp] = order[kept]
    return chosen


def _resize(image_yx: FloatArray, scale: float) -> FloatArray:
    if scale == 1:
        return image_yx
    height, width = (max(1, round(size * scale)) for size in image_yx.shape)
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized: FloatArray = cv2.resize(image_yx, (width, height), interpolation=smooth)
    return resized


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
    winners
        Numbers of the candidates that stand for a particle, best first.
    agreement
        Fraction of the candidates' weight that must claim a pixel, 0 to 1.
    central
        A candidate belongs to a particle if its centre lies within this fraction of the winner's
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
    """Return for each pixel the weighted fraction of polygons that hold its centre.

    Parameters
    ----------
    points_nc
        Centres (N, 2) as y, x, in px of the window.
    dist_nk
        Distances to the outline (N, n_rays).

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
