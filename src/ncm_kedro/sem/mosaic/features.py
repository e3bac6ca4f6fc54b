"""The same region at any magnification, rotation, mirroring or contrast, by local features.

SIFT descriptors (Lowe, D. G. (2004), "Distinctive image features from scale-invariant keypoints",
Int. J. Comput. Vis. 60, 91-110), compared as square roots (Arandjelovic, R., Zisserman, A. (2012),
"Three things everyone should know to improve object retrieval", CVPR). Mirroring an image and
inverting its contrast permute a descriptor's elements. In the basis of the four characters of
these permutations they only change signs, so that one set of products compares two frames as they
are, mirrored, inverted, and both. One matched pair of keypoints fixes a similarity transform; the
transform with most pairs behind it is fitted to these and confirmed by the correlation of the
common region.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.sem.mosaic.geometry import (
    fit_similarity,
    make_matrices,
    map_points,
    split_matrix,
)
from ncm_kedro.sem.mosaic.registration import band_pass

FloatArray = NDArray[np.float32]
BASE_SIDE_PX = 320
MAX_LEVEL = 2
_PER_BASE = 300  # keypoints of a frame at the coarsest level; four times as many a level
_CONTRAST = 0.01
_EDGE = 12.0
_GREY_STD = 45.0
_MIN_GREY_STD = 1e-3
_MOST_MATCHES = 160
_TOLERANCE = 0.02  # of the side of the narrower image
_ANGLE_RAD, _LOG_SCALE = 0.35, 0.35
_MAX_LOG_SCALE = np.log(12.0)
_MIN_COMMON_PX = 500
_VARIANTS = ((False, False), (True, False), (False, True), (True, True))  # mirrored, inverted


@dataclass(frozen=True)
class Features:
    """Keypoints of a frame, the strongest first.

    Parameters
    ----------
    image_yx
        The reduced frame that they were found on, ``(h, w)``, of unit contrast.
    factor
        Pixels of the frame in one of ``image_yx``.
    xy_px
        Places in the frame, ``(K, 2)`` (px from its corner).
    log_size
        Logarithm of the sizes in the frame, ``(K,)`` (px).
    angle_rad
        Orientations, clockwise, ``(K,)``.
    blocks
        Descriptors in the basis of the characters, ``(4, K, 32)``.
    """

    image_yx: NDArray[np.uint8]
    factor: float
    xy_px: NDArray[np.float64]
    log_size: NDArray[np.float64]
    angle_rad: NDArray[np.float64]
    blocks: FloatArray


@dataclass(frozen=True)
class SimilarView:
    """How a second frame lies in a first one.

    Parameters
    ----------
    matrix
        ``(2, 3)``: takes places of the second frame to those of the first (x, y in px).
    mirrored, inverted
        Whether one is a mirror image of the other; whether its contrast is inverted.
    n_matches
        Keypoints behind it.
    correlation
        Correlation coefficient of the common region, contrast set right.
    """

    matrix: NDArray[np.float64]
    mirrored: bool
    inverted: bool
    n_matches: int
    correlation: float


def find_features(image_yx: NDArray[np.uint8], level: int) -> Features:
    """Find the keypoints of a frame ``(H, W)``.

    Parameters
    ----------
    level
        The frame is reduced to a longer side of ``BASE_SIDE_PX * 2 ** level``, if it is larger.
    """
    longer_px = max(image_yx.shape)
    factor = max(1.0, longer_px / (BASE_SIDE_PX * 2**level))
    height, width = (max(1, round(extent / factor)) for extent in image_yx.shape)
    reduced_yx = cv2.resize(
        image_yx.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
    )
    spread = float(reduced_yx.std())
    levelled = (reduced_yx - reduced_yx.mean()) * (_GREY_STD / max(spread, _MIN_GREY_STD)) + 128
    level_yx = np.clip(np.rint(levelled), 0, 255).astype(np.uint8)
    detector = cv2.SIFT.create(
        contrastThreshold=_CONTRAST, edgeThreshold=_EDGE, enable_precise_upscale=True
    )
    found = detector.detect(level_yx, None) if spread >= _MIN_GREY_STD else ()
    strength = np.array([point.response for point in found])
    strongest = np.argsort(-strength, kind="stable")[: _PER_BASE * 4**level]
    points, descriptors = detector.compute(level_yx, [found[k] for k in strongest])
    table = np.array(
        [(*point.pt, point.size, point.angle) for point in points], np.float64
    ).reshape(-1, 4)
    described = np.zeros((0, 128), np.float32) if descriptors is None else descriptors
    roots = np.sqrt(described / np.maximum(described.sum(axis=1, keepdims=True), 1e-6))
    scale_xy = np.array(image_yx.shape[::-1]) / (width, height)
    return Features(
        image_yx=level_yx,
        factor=factor,
        xy_px=(table[:, :2] + 0.5) * scale_xy,
        log_size=np.log(np.maximum(table[:, 2], 1e-6) * factor),
        angle_rad=np.deg2rad(table[:, 3]),
        blocks=np.stack([roots @ basis.T for basis in _character_bases()]).astype(np.float32),
    )


@cache
def _character_bases() -> tuple[FloatArray, ...]:
    """Orthonormal bases of the descriptors that mirroring and inversion keep or negate."""
    index = np.arange(128).reshape(4, 4, 8)  # row, column, orientation, all in the keypoint's frame
    mirrored = index[::-1][:, :, -np.arange(8) % 8].ravel()
    inverted = index[::-1, ::-1].ravel()
    identity = np.eye(128, dtype=np.float32)
    bases = []
    for mirror_sign, invert_sign in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        half = identity + mirror_sign * identity[mirrored]
        projected = half + invert_sign * half[:, inverted]
        seen: set[int] = set()
        chosen = [k for k in range(128) if not _orbit_seen(k, mirrored, inverted, seen)]
        part = projected[chosen]
        bases.append(part / np.linalg.norm(part, axis=1, keepdims=True))
    return tuple(bases)


def _orbit_seen(
    element: int, mirrored: NDArray[np.int_], inverted: NDArray[np.int_], seen: set[int]
) -> bool:
    if element in seen:
        return True
    pair = (element, int(mirrored[element]))
    seen.update(pair)
    seen.update(int(inverted[other]) for other in pair)
    return False


def compare_views(
    first: Features,
    second: Features,
    *,
    scales: tuple[float, ...],
    tolerance_px: float,
    min_matches: int,
    min_correlation: float,
) -> SimilarView | None:
    """Find how a second frame lies in a first, None if they show no common region.

    Parameters
    ----------
    scales
        Likely pixel sizes of the second over that of the first (no unit).
    tolerance_px
        A transform of such a scale and a multiple of 90 degrees is taken where it maps the
        keypoints as the fitted one does, within this distance (px of the coarser frame).
    """
    matches = _find_best_variant(first, second)
    if matches is None or len(matches.first) < min_matches:
        return None
    source_xy, target_xy = second.xy_px[matches.second], first.xy_px[matches.first]
    fitted = fit_similarity(source_xy, target_xy, mirrored=matches.mirrored)
    matrix = _simplify(fitted, source_xy, scales, tolerance_px)
    correlation = _correlate_warped(first, second, matrix)
    if matches.inverted:
        correlation = -correlation
    if correlation < min_correlation:
        return None
    return SimilarView(matrix, matches.mirrored, matches.inverted, len(matches.first), correlation)


def _simplify(
    fitted: NDArray[np.float64],
    source_xy: NDArray[np.float64],
    scales: tuple[float, ...],
    tolerance_px: float,
) -> NDArray[np.float64]:
    """Replace a fit from few places by the simplest transform that it cannot be told from."""
    _, angle_deg, mirrored = split_matrix(fitted)
    placed_xy = map_points(fitted, source_xy)
    for scale in scales:
        simple = make_matrices(
            np.array([scale]),
            np.array([90.0 * round(angle_deg / 90.0)]),
            np.array([mirrored]),
            np.zeros((1, 2)),
        )[0]
        simple[:, 2] = (placed_xy - map_points(simple, source_xy)).mean(axis=0)
        miss_px = np.linalg.norm(placed_xy - map_points(simple, source_xy), axis=1).max()
        if miss_px <= tolerance_px * max(1.0, scale):
            return np.asarray(simple, dtype=np.float64)
    return fitted


@dataclass(frozen=True)
class _Matches:
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    mirrored: bool
    inverted: bool


def _find_best_variant(first: Features, second: Features) -> _Matches | None:
    if not len(first.xy_px) or not len(second.xy_px):
        return None
    parts = np.matmul(first.blocks, second.blocks.transpose(0, 2, 1))
    plus, minus = parts[0] + parts[1], parts[0] - parts[1]
    plus_odd, minus_odd = parts[2] + parts[3], parts[2] - parts[3]
    products = (plus + plus_odd, plus - plus_odd, minus + minus_odd, minus - minus_odd)
    best: _Matches | None = None
    for (mirrored, inverted), product in zip(_VARIANTS, products, strict=True):
        pairs = _match_mutually(product)
        agreeing = _find_consistent(first, second, pairs, mirrored=mirrored, inverted=inverted)
        if best is None or agreeing.sum() > len(best.first):
            best = _Matches(pairs[0][agreeing], pairs[1][agreeing], mirrored, inverted)
    return best


def _match_mutually(product: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs that are each other's best, the closest ones."""
    nearest = product.argmax(axis=1)
    rows = np.arange(len(product))
    closeness = product[rows, nearest]
    if len(rows) > _MOST_MATCHES:
        rows = np.argpartition(-closeness, _MOST_MATCHES)[:_MOST_MATCHES]
    columns = nearest[rows]
    mutual = product[:, columns].max(axis=0) <= closeness[rows]
    return rows[mutual], columns[mutual]


def _find_consistent(
    first: Features,
    second: Features,
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]],
    *,
    mirrored: bool,
    inverted: bool,
) -> NDArray[np.bool_]:
    """Pairs that agree with the similarity transform of the one that most agree with."""
    here, there = pairs
    if not len(here):
        return np.zeros(0, bool)
    log_scale = first.log_size[here] - second.log_size[there]
    turned = second.angle_rad[there]
    turned = (np.pi - turned if mirrored else turned) + (np.pi if inverted else 0.0)
    angle = first.angle_rad[here] - turned
    place = first.xy_px[here]
    moved = second.xy_px[there] * (-1.0 if mirrored else 1.0, 1.0)
    as_complex = place[:, 0] + 1j * place[:, 1]
    source = moved[:, 0] + 1j * moved[:, 1]
    factor = np.exp(log_scale + 1j * angle)
    offset = as_complex - factor * source
    miss = np.abs(factor[:, None] * source[None] + offset[:, None] - as_complex[None])
    side_px = np.minimum(
        max(first.image_yx.shape) * first.factor,
        max(second.image_yx.shape) * second.factor * np.exp(log_scale),
    )
    agree = miss < _TOLERANCE * side_px[:, None]
    agree &= np.abs(log_scale[:, None] - log_scale[None]) < _LOG_SCALE
    agree &= np.cos(angle[:, None] - angle[None]) > np.cos(_ANGLE_RAD)
    votes = agree.sum(axis=1) * (np.abs(log_scale) < _MAX_LOG_SCALE)
    return np.asarray(agree[votes.argmax()], dtype=bool)


def _correlate_warped(first: Features, second: Features, matrix: NDArray[np.float64]) -> float:
    """Correlation coefficient of the common region, on the coarser of the two samplings."""
    ratio = float(np.hypot(matrix[0, 0], matrix[1, 0])) * second.factor / first.factor
    if ratio > 1:  # pixels of the second image are the larger ones: exchange the two
        inverse = cv2.invertAffineTransform(matrix)
        return _correlate_warped(second, first, np.asarray(inverse, dtype=np.float64))
    height, width = (max(8, round(extent * ratio)) for extent in second.image_yx.shape)
    reduced_yx = cv2.resize(second.image_yx, (width, height), interpolation=cv2.INTER_AREA)
    step_xy = np.array(second.image_yx.shape[::-1]) * second.factor / (width, height)
    linear = matrix[:, :2] * step_xy / first.factor
    # centres of pixels lie half a pixel from the corner that places are counted from
    offset = matrix[:, 2] / first.factor + linear @ (0.5, 0.5) - 0.5
    to_first = np.column_stack([linear, offset])
    size = first.image_yx.shape[::-1]
    warped_yx = cv2.warpAffine(band_pass(reduced_yx), to_first, size, flags=cv2.INTER_LINEAR)
    inside = cv2.warpAffine(np.ones((height, width), np.float32), to_first, size)
    mask = inside > 0.999
    if mask.sum() < _MIN_COMMON_PX:
        return 0.0
    here, there = band_pass(first.image_yx)[mask], warped_yx[mask]
    here, there = here - here.mean(), there - there.mean()
    power = float((here * here).sum()) * float((there * there).sum())
    return float((here * there).sum()) / float(np.sqrt(power)) if power > 0 else 0.0
