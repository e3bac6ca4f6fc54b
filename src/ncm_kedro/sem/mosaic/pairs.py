"""Which pairs of frames are worth a comparison, and which overlaps a closer look.

Offsets to a fraction of a pixel, from patches of larger pictures of two frames.

Overlaps of a tenth of a frame, which cyclic correlation misses.

Thumbnails are padded to twice their size, so that shifts do not wrap, and the correlation is
divided by its standard deviation at each shift, which goes with the square root of the common
area. It costs some eight times as much as a cyclic correlation, so it is kept for pairs of one
class that are not in one mosaic yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ncm_kedro.params.sem_ingest import MosaicParams
from ncm_kedro.sem.mosaic.registration import (
    FloatArray,
    IndexArray,
    SpectrumBank,
    band_pass,
    band_weight,
    common_windows,
    correlate_common,
    find_vertex,
    taper,
    whiten,
)


def pairs_within(
    classes: NDArray[np.object_], params: MosaicParams
) -> tuple[IndexArray, IndexArray]:
    """List all pairs of each class; if too many, neighbours in time and a regular subset.

    Parameters
    ----------
    classes
        Class of each frame in order of time, ``(N,)``.
    params
        Most pairs, and neighbours.

    Returns
    -------
    first, second
        Indices of the pairs, ``(P,)``, first < second.
    """
    members = [np.flatnonzero(classes == name) for name in sorted(set(classes))]
    total = sum(len(group) * (len(group) - 1) // 2 for group in members)
    stride = max(1, int(np.ceil(np.sqrt(total / params.max_pairs))))
    pairs: set[tuple[int, int]] = set()
    for group in members:
        pairs.update(_combinations(group[::stride]))
        if stride > 1:
            for step in range(1, min(params.neighbours, len(group) - 1) + 1):
                pairs.update(zip(group[:-step].tolist(), group[step:].tolist(), strict=True))
    return _as_indices(sorted(pairs))


def pairs_across(
    classes: NDArray[np.object_], params: MosaicParams
) -> tuple[IndexArray, IndexArray]:
    """List pairs of frames of different classes; if too many, of evenly spaced frames only.

    Parameters
    ----------
    classes
        Class of each frame in order of time, ``(N,)``.
    params
        Most pairs.

    Returns
    -------
    first, second
        Indices of the pairs, ``(P,)``, first < second.
    """
    first, second = np.triu_indices(len(classes), 1)
    crossing = classes[first] != classes[second]
    stride = max(1, int(np.ceil(np.sqrt(crossing.sum() / params.max_pairs))))
    crossing &= (first % stride == 0) & (second % stride == 0)
    return first[crossing], second[crossing]


def choose_links(
    first: IndexArray,
    second: IndexArray,
    score: NDArray[np.float64],
    n_frames: int,
    per_frame: int,
) -> NDArray[np.bool_]:
    """Choose the best overlaps of each frame and, evenly, some of the others, to span loops.

    Parameters
    ----------
    first, second
        Frames of each link, ``(P,)``.
    score
        How sure each link is, ``(P,)``.
    n_frames
        Number of frames.
    per_frame
        Links to choose per frame; the better half of them by score.

    Returns
    -------
    ndarray
        Whether a link is chosen, ``(P,)``.
    """
    chosen = np.zeros(len(first), dtype=bool)
    ends = np.concatenate([first, second])
    owners = np.tile(np.arange(len(first)), 2)
    order = np.lexsort((owners, -score[owners], ends))
    bounds = np.searchsorted(ends[order], np.arange(n_frames + 1))
    for start, stop in pairwise(bounds.tolist()):
        mine = owners[order[start:stop]]
        best = (per_frame + 1) // 2
        spread = np.linspace(best, len(mine) - 1, per_frame - best).round().astype(int)
        chosen[mine[:best]] = True
        if len(mine) > best:
            chosen[mine[spread]] = True
    return chosen


def _combinations(group: IndexArray) -> Iterator[tuple[int, int]]:
    rows, columns = np.triu_indices(len(group), 1)
    return zip(group[rows].tolist(), group[columns].tolist(), strict=True)


def _as_indices(pairs: list[tuple[int, int]]) -> tuple[IndexArray, IndexArray]:
    table = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    return table[:, 0], table[:, 1]


_PATCH_PX = 256


def refine_shift(
    first_yx: NDArray[np.uint8],
    second_yx: NDArray[np.uint8],
    guess_yx: NDArray[np.float64],
    reach_px: int,
) -> NDArray[np.float64] | None:
    """Measure a shift on patches from the middle of the common ground.

    Parameters
    ----------
    first_yx, second_yx
        Frames ``(h, w)``.
    guess_yx
        Shift known so far, ``(2,)`` (px).
    reach_px
        Largest error of the guess (px).

    Returns
    -------
    ndarray or None
        Shift ``(2,)`` (px) to a fraction of a pixel; None if the patches do not agree within
        ``reach_px``.
    """
    whole = np.rint(guess_yx).astype(int)
    here, there = common_windows(first_yx.shape, whole)
    extents = [min(_PATCH_PX, window.stop - window.start) for window in here]
    if min(extents) < 4 * reach_px:
        return None
    patches = [
        image_yx[tuple(_middle(w, n) for w, n in zip(windows, extents, strict=True))]
        for image_yx, windows in ((first_yx, here), (second_yx, there))
    ]
    height, width = extents
    window_yx = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    stack = np.stack([band_pass(patch) for patch in patches]) * window_yx
    spectra = whiten(scipy.fft.rfft2(stack)) * band_weight(height, width)
    surface = scipy.fft.irfft2(spectra[0] * spectra[1].conj(), s=(height, width))
    rows = np.arange(-reach_px, reach_px + 1)
    near = surface[np.ix_(rows % height, rows % width)]
    y, x = np.unravel_index(int(near.argmax()), near.shape)
    if not (0 < y < 2 * reach_px and 0 < x < 2 * reach_px):
        return None
    top = np.float64(near[y, x])
    return np.array(
        [
            whole[0] + rows[y] + float(find_vertex(near[y - 1, x], top, near[y + 1, x])),
            whole[1] + rows[x] + float(find_vertex(near[y, x - 1], top, near[y, x + 1])),
        ]
    )


def _middle(window: slice, extent: int) -> slice:
    start = window.start + (window.stop - window.start - extent) // 2
    return slice(start, start + extent)


_BATCH = 16
_TAPER = 0.04


def pairs_between_mosaics(
    classes: NDArray[np.object_], component: NDArray[np.int_], params: MosaicParams
) -> tuple[IndexArray, IndexArray]:
    """List pairs of one class in different components, nearest in time first.

    Parameters
    ----------
    classes
        Class of each frame in order of time, ``(N,)``.
    component
        Component of each frame, ``(N,)``.
    params
        Most pairs.

    Returns
    -------
    first, second
        Indices of the pairs, ``(P,)``, first < second, sorted.
    """
    first, second = np.triu_indices(len(classes), 1)
    apart = (classes[first] == classes[second]) & (component[first] != component[second])
    first, second = first[apart], second[apart]
    nearest = np.argsort(second - first, kind="stable")[: params.max_gap_pairs]
    chosen = np.sort(nearest)
    return first[chosen], second[chosen]


def correlate_padded(
    bank: SpectrumBank, first: IndexArray, second: IndexArray, params: MosaicParams
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Correlate pairs without wrapping.

    Parameters
    ----------
    bank
        Thumbnails of N frames.
    first, second
        Indices into the bank, ``(P,)``.
    params
        Least overlap, and threads.

    Returns
    -------
    score
        Peak in standard deviations of the normalised surface, ``(P,)``.
    shift_yx
        Place of the second in the first, whole thumbnail px, ``(P, 2)``.
    correlation
        Correlation coefficient of the common ground, ``(P,)``.
    """
    height, width = bank.shape
    members, rows = np.unique(np.concatenate([first, second]), return_inverse=True)
    spectra = _padded_spectra(bank.thumbnails_nyx[members])
    gain_yx = _gain(height, width, params.min_gap_overlap)
    score, correlation = np.zeros(len(first)), np.full(len(first), -1.0)
    shift_yx = np.zeros((len(first), 2))
    left, right = rows[: len(first)], rows[len(first) :]

    def run(start: int) -> None:
        part = slice(start, start + _BATCH)
        product = spectra[left[part]] * spectra[right[part]].conj()
        surfaces = scipy.fft.irfft2(product, s=gain_yx.shape) * gain_yx
        flat = surfaces.reshape(len(surfaces), -1)
        place = flat.argmax(axis=1)
        score[part] = flat[np.arange(len(flat)), place] / np.maximum(flat.std(axis=1), 1e-12)
        y, x = np.divmod(place, 2 * width)
        shift_yx[part, 0] = np.where(y < height, y, y - 2 * height)
        shift_yx[part, 1] = np.where(x < width, x, x - 2 * width)

    with ThreadPoolExecutor(params.workers) as pool:
        list(pool.map(run, range(0, len(first), _BATCH)))
    for pair in np.flatnonzero(score >= params.min_gap_score):
        correlation[pair] = correlate_common(
            bank.thumbnails_nyx[first[pair]],
            bank.thumbnails_nyx[second[pair]],
            shift_yx[pair].astype(int),
            min_fraction=params.min_gap_overlap,
        )
    return score, shift_yx, correlation


def _padded_spectra(thumbnails_nyx: FloatArray) -> NDArray[np.complex64]:
    n, height, width = thumbnails_nyx.shape
    window_yx = taper(height, width, _TAPER)
    weight = band_weight(2 * height, 2 * width)
    spectra = np.empty((n, 2 * height, width + 1), np.complex64)
    for number, image_yx in enumerate(thumbnails_nyx):
        spectrum = scipy.fft.rfft2(image_yx * window_yx, s=(2 * height, 2 * width))
        spectra[number] = whiten(spectrum) * weight
    return spectra


def _gain(height: int, width: int, min_overlap: float) -> FloatArray:
    """One over the square root of the common share at each shift; 0 below the least overlap."""
    y = np.abs(scipy.fft.fftfreq(2 * height) * 2 * height)
    x = np.abs(scipy.fft.fftfreq(2 * width) * 2 * width)
    share = np.clip(1 - y / height, 0, 1)[:, None] * np.clip(1 - x / width, 0, 1)[None]
    known = share >= min_overlap
    gain = np.zeros_like(share)
    gain[known] = 1 / np.sqrt(share[known])
    return np.asarray(gain, dtype=np.float32)
