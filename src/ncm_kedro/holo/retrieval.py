"""Phase from the intensities of one projection at several distances.

The wave behind the sample is ``exp(-B + i phi)``: ``phi = -k int delta``, ``B = k int beta``.
Contrast transfer function (CTF): Cloetens et al., Appl. Phys. Lett. 75, 2912 (1999); homogeneous
objects and two-level regularisation: Lohse et al., J. Synchrotron Rad. 27, 852 (2020), eqs. 8-10.
Paganin et al., J. Microsc. 206, 33 (2002), eq. 10. Images go on beyond their frame with their
outermost values.

The linear CTF takes ``exp(-2 B)`` for ``1 - 2 B`` and the wave for ``1 - B + i phi``; on particles
of NMC both make the phase too small, by 15 % together. Hence its result is taken as the filtered
intensity that it is (a logarithm brings it to the phase), and then refined: the misfit between
measured amplitudes and those of the exact propagation is minimised by L-BFGS.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.optimize import minimize
from scipy.special import erfc

from ncm_kedro.params.holo import RetrievalParams

FloatArray = NDArray[np.float32]
ComplexArray = NDArray[np.complex64]

_LEAST = 1e-3  # intensity below which a logarithm is cut
_EDGE = 0.05 * np.pi  # width in chi of the change from coarse to fine damping
_LEAST_CURVATURE = 1.0  # that the refinement assumes at any frequency: coarse structure stays
_LEAST_CURVATURE_KNOWN = 0.02  # where absorption is known ray by ray: coarse structure moves
_MEMORY = 5  # steps that L-BFGS remembers


@dataclass(frozen=True)
class PhaseRetriever:
    """Retrieves the phase of projections of one size; transfer functions are computed once.

    Attributes
    ----------
    shape_yx
        Of the projections (px).
    fresnel
        Wavelength times distance over the area of a pixel, of each distance (no unit).
    params
        Method and its settings.
    """

    shape_yx: tuple[int, int]
    fresnel: tuple[float, ...]
    params: RetrievalParams

    def retrieve(self, intensity_kyx: FloatArray) -> FloatArray:
        """Retrieve the phase of a projection.

        Parameters
        ----------
        intensity_kyx
            (K, Y, X), intensity over that without sample, registered to one another.

        Returns
        -------
        ndarray of float32
            (Y, X), phase in radians, negative in matter.
        """
        ratio = np.float32(1 / self.params.delta_over_beta)
        linear = self.solve_linear(intensity_kyx)
        if self.params.method == "ctf":
            return self.refine(intensity_kyx, linear, ratio)
        flat = np.maximum(1 + 2 * ratio * linear, _LEAST)
        return self.refine(intensity_kyx, np.log(flat) / (2 * ratio), ratio)

    def solve_linear(self, intensity_kyx: FloatArray) -> FloatArray:
        """Fit one phase to all distances by least squares, as if the object were weak."""
        padded = self._pad(intensity_kyx - 1)
        weights = self._tables.weights
        total = sum(w * fft.rfft2(image) for w, image in zip(weights, padded, strict=True))
        return self._cut(fft.irfft2(total, s=padded.shape[1:]))

    def refine(
        self,
        intensity_kyx: FloatArray,
        phase_yx: FloatArray,
        absorption_ratio: FloatArray | np.float32,
    ) -> FloatArray:
        """Fit the phase to the intensities by exact propagation.

        Parameters
        ----------
        phase_yx
            (Y, X), where to start.
        absorption_ratio
            (Y, X) or one number, B over -phi.

        Returns
        -------
        ndarray of float32
            (Y, X), phase after ``params.refinements`` steps.
        """
        if not self.params.refinements:
            return np.asarray(phase_yx, np.float32)
        known = isinstance(absorption_ratio, np.ndarray)
        least = _LEAST_CURVATURE_KNOWN if known else _LEAST_CURVATURE
        start, ratio = self._pad(phase_yx), self._spread(absorption_ratio)
        misfit = _Misfit(self, intensity_kyx, start, ratio, least)
        found = minimize(
            misfit,
            np.zeros(misfit.start.size),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.params.refinements, "maxcor": _MEMORY},
        )
        return self._cut(misfit.phase(found.x))

    def propagate(
        self, phase_yx: FloatArray, absorption_ratio: FloatArray | np.float32
    ) -> FloatArray:
        """Compute the intensities that a detector sees, (K, Y, X)."""
        ratio = self._spread(absorption_ratio)
        spectrum = fft.fft2(np.exp((ratio + 1j) * self._pad(phase_yx)).astype(np.complex64))
        seen = [np.abs(fft.ifft2(spectrum * p)) ** 2 for p in self._tables.propagators]
        return self._cut(np.stack(seen))

    def _spread(self, ratio: FloatArray | np.float32) -> FloatArray | np.float32:
        return self._pad(ratio) if isinstance(ratio, np.ndarray) else ratio

    @property
    def _tables(self) -> _Tables:
        return _make_tables(self.shape_yx, self.fresnel, self.params)

    @property
    def _frame(self) -> tuple[slice, slice]:
        (top, left), (height, width) = (m[0] for m in self._margins), self.shape_yx
        return slice(top, top + height), slice(left, left + width)

    @property
    def _margins(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return _choose_margins(self.shape_yx, self.fresnel)

    def _pad(self, image: FloatArray) -> FloatArray:
        margins = [(0, 0)] * (image.ndim - 2) + list(self._margins)
        return np.pad(image, margins, mode="edge").astype(np.float32, copy=False)

    def _cut(self, image: FloatArray) -> FloatArray:
        return np.ascontiguousarray(image[(..., *self._frame)], np.float32)


class _Misfit:
    """Half the squared misfit of amplitudes and its gradient, in whitened changes of the phase."""

    def __init__(
        self,
        retriever: PhaseRetriever,
        intensity_kyx: FloatArray,
        start: FloatArray,
        ratio: FloatArray | np.float32,
        least_curvature: float,
    ) -> None:
        self.start = start
        self._ratio = ratio
        self._frame = retriever._frame
        self._tables = retriever._tables
        self._whitening = 1 / np.sqrt(self._tables.curvature + np.float32(least_curvature))
        self._amplitude_kyx = np.sqrt(np.maximum(intensity_kyx, 0))

    def phase(self, change: NDArray[np.float64]) -> FloatArray:
        return self.start + self._whiten(change.reshape(self.start.shape))

    def __call__(self, change: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        wave = np.exp((self._ratio + 1j) * self.phase(change)).astype(np.complex64)
        spectrum, back = fft.fft2(wave), np.zeros(wave.shape, np.complex64)
        wrong = np.zeros_like(wave)  # stays 0 outside the frame, where nothing is known
        total = 0.0
        for amplitude, propagator in zip(
            self._amplitude_kyx, self._tables.propagators, strict=True
        ):
            seen = fft.ifft2(spectrum * propagator)[self._frame]
            size = np.maximum(np.abs(seen), _LEAST)
            total += 0.5 * float(np.sum((size - amplitude) ** 2, dtype=np.float64))
            wrong[self._frame] = seen * (1 - amplitude / size)
            back += fft.fft2(wrong) * propagator.conj()
        inner = np.conj(wave) * fft.ifft2(back)
        gradient = inner.imag + self._ratio * inner.real
        return total, self._whiten(gradient).ravel().astype(np.float64)

    def _whiten(self, image: NDArray[np.floating]) -> FloatArray:
        spectrum = fft.rfft2(np.asarray(image, np.float32)) * self._whitening
        return np.asarray(fft.irfft2(spectrum, s=image.shape), np.float32)


@dataclass(frozen=True)
class _Tables:
    """Transfer functions on the padded grid; weights are (K, F, G), of a real transform."""

    weights: FloatArray
    curvature: FloatArray
    propagators: tuple[ComplexArray, ...]


def _choose_margins(
    shape_yx: tuple[int, int], fresnel: tuple[float, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Choose margins that hold the fringes of the farthest distance, at most half a frame each."""

    def split(size: int) -> tuple[int, int]:
        margin = int(min(max(max(fresnel) / 2, size / 8, 16), size / 2))
        extra = fft.next_fast_len(size + 2 * margin) - size
        return extra // 2, extra - extra // 2

    return split(shape_yx[0]), split(shape_yx[1])


@lru_cache(maxsize=4)
def _make_tables(
    shape_yx: tuple[int, int], fresnel: tuple[float, ...], params: RetrievalParams
) -> _Tables:
    margins = _choose_margins(shape_yx, fresnel)
    height, width = (n + sum(m) for n, m in zip(shape_yx, margins, strict=True))
    half = fft.fftfreq(height)[:, None] ** 2 + fft.rfftfreq(width)[None] ** 2
    full = fft.fftfreq(height)[:, None] ** 2 + fft.fftfreq(width)[None] ** 2
    chi = np.pi * np.array(fresnel)[:, None, None] * half
    ratio = 1 / params.delta_over_beta
    homogeneous = 2 * (np.sin(chi) + ratio * np.cos(chi))
    normal = (homogeneous**2).sum(axis=0)
    if params.method == "paganin":
        transfer = 2 * (chi + ratio)
        weights = transfer / (transfer**2).sum(axis=0)
    elif params.method == "ctf":
        weights = _separate(chi, _damp(chi, params))
    else:
        weights = homogeneous / (normal + _damp(chi, params))
    return _Tables(
        weights=weights.astype(np.float32),
        curvature=(normal / 4).astype(np.float32),
        propagators=tuple(np.exp(-1j * np.pi * f * full).astype(np.complex64) for f in fresnel),
    )


def _separate(chi: NDArray[np.float64], damping: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the distances in the phase where absorption is fitted beside it (2 x 2)."""
    sine, cosine = 2 * np.sin(chi), -2 * np.cos(chi)
    ss, cc = (sine**2).sum(axis=0) + damping, (cosine**2).sum(axis=0) + damping
    sc = (sine * cosine).sum(axis=0)
    weights: NDArray[np.float64] = (sine * cc - cosine * sc) / (ss * cc - sc**2)
    return weights


def _damp(chi: NDArray[np.float64], params: RetrievalParams) -> NDArray[np.float64]:
    """Damping by frequency: coarse below the first maximum of the mean transfer, fine beyond."""
    coarse = erfc((chi.mean(axis=0) - np.pi / 2) / _EDGE) / 2
    damping: NDArray[np.float64] = params.damping_coarse * coarse + params.damping_fine * (
        1 - coarse
    )
    return damping
