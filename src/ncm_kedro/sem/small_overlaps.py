"""Overlaps of a tenth of a frame, which cyclic correlation misses.

Thumbnails are padded to twice their size, so that shifts do not wrap, and the correlation is
divided by its standard deviation at each shift, which goes with the square root of the common
area. It costs some eight times as much as a cyclic correlation, so it is kept for pairs of one
class that are not in one mosaic yet.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ncm_kedro.params.sem_mosaic import MosaicParams
from ncm_kedro.sem.registration import (
    FloatArray,
    IndexArray,
    SpectrumBank,
    band_weight,
    correlate_common,
    taper,
    whiten,
)

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
            least_share=params.min_gap_overlap,
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
