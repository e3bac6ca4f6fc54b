"""Star-convex candidates in one section: predicted at several scales, thinned to one a particle."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from stardist.nms import non_maximum_suppression_inds

from ncm_kedro.tomo.detector.detector import Detector, SectionPrediction

FloatArray = NDArray[np.float32]

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
    detector
        The network.
    scale
        Factor by which the section is enlarged for the network.
    threshold
        Least probability of a candidate.
    turns
        Whether to average over flips and quarter turns.

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
    """Average a prediction over the flips and quarter turns that map rays onto rays.

    Height and width are made odd, so that the grid of a flipped section falls on the section's
    own grid. Needs a number of rays that 4 divides for quarter turns, and an even one for flips.
    """
    height, width = image_yx.shape
    odd = np.pad(image_yx, ((0, 1 - height % 2), (0, 1 - width % 2)), mode="edge")
    n_rays = detector.n_rays
    rays = np.arange(n_rays)
    probs, dists = [], []
    for swap in (False, True) if n_rays % 4 == 0 else (False,):
        for flip_y in (False, True):
            for flip_x in (False, True) if n_rays % 2 == 0 else (False,):
                turned = odd.T if swap else odd
                turned = turned[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
                found = detector.predict(np.ascontiguousarray(turned)[None])
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
                probs.append(prob.T if swap else prob)
                dists.append(dist.transpose(0, 2, 1) if swap else dist)
    grid = detector.grid
    rows, columns = -(-height // grid), -(-width // grid)
    mean_prob = np.mean(probs, axis=0)[None, :rows, :columns]
    mean_dist = np.mean(dists, axis=0)[None, :, :rows, :columns]
    return SectionPrediction(mean_prob, mean_dist)


def suppress_overlaps(
    candidates: Candidates, *, max_overlap: float, scores_n: FloatArray | None = None
) -> NDArray[np.intp]:
    """Choose the candidates that no better one covers (non-maximum suppression).

    Parameters
    ----------
    candidates
        All candidates.
    max_overlap
        Overlap, as a share of the smaller one's area, above which the worse of two goes.
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
