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

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from scipy.special import erfc
from torch import Tensor

from ncm_kedro.params.holo import RetrievalParams

FloatArray = NDArray[np.float32]

_LEAST = 1e-3  # intensity below which a logarithm is cut
_EDGE = 0.05 * np.pi  # width in chi of the change from coarse to fine damping
_LEAST_CURVATURE = 1.0  # that the refinement assumes at any frequency: coarse structure stays
_LEAST_CURVATURE_KNOWN = 0.02  # where absorption is known ray by ray: coarse structure moves
_MEMORY = 3  # steps that L-BFGS remembers
_MAKING = Lock()


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
    device
        Of torch: ``cpu``, ``cuda``.
    """

    shape_yx: tuple[int, int]
    fresnel: tuple[float, ...]
    params: RetrievalParams
    device: str = "cpu"

    @torch.no_grad()
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
        ratio = 1 / self.params.delta_over_beta
        phase = self.solve_linear(intensity_kyx)
        if self.params.method != "ctf":
            phase = np.log(np.maximum(1 + 2 * ratio * phase, _LEAST)) / np.float32(2 * ratio)
        return self.refine(intensity_kyx, phase, ratio)

    @torch.no_grad()
    def solve_linear(self, intensity_kyx: FloatArray) -> FloatArray:
        """Fit one phase to all distances by least squares, as if the object were weak."""
        tables = self._tables
        total = torch.zeros((), device=self.device)
        for image, weights in zip(intensity_kyx, tables.weights, strict=True):
            total = total + weights * torch.fft.rfft2(self._pad(image - 1))
        return self._cut(torch.fft.irfft2(total, s=tables.shape_yx))

    @torch.no_grad()
    def refine(
        self,
        intensity_kyx: FloatArray,
        phase_yx: FloatArray,
        absorption_ratio: FloatArray | float,
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
        misfit = Misfit(self, intensity_kyx, phase_yx, absorption_ratio)
        change = torch.zeros(self._tables.shape_yx, device=self.device, requires_grad=True)
        search = torch.optim.LBFGS(
            [change],
            max_iter=self.params.refinements,
            max_eval=2 * self.params.refinements,
            history_size=_MEMORY,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

        def evaluate() -> Tensor:
            value, change.grad = misfit.evaluate(change)
            return value

        search.step(evaluate)  # type: ignore[no-untyped-call]
        return self._cut(misfit.find_phase(change))

    @torch.no_grad()
    def propagate(self, phase_yx: FloatArray) -> FloatArray:
        """Compute the intensities that a phase of one material gives, (K, Y, X)."""
        phase = self._pad(phase_yx)
        spectrum = torch.fft.fft2(
            torch.polar(torch.exp(phase / self.params.delta_over_beta), phase)
        )
        waves = (
            torch.fft.ifft2((spectrum * rows).mul_(columns))
            for rows, columns in self._tables.propagators
        )
        return np.stack([self._cut(wave.real**2 + wave.imag**2) for wave in waves])

    @property
    def _tables(self) -> _Tables:
        return _get_tables(self.shape_yx, self.fresnel, self.params, self.device)

    @property
    def _frame(self) -> tuple[slice, slice]:
        (top, left), (height, width) = (m[0] for m in self._margins), self.shape_yx
        return slice(top, top + height), slice(left, left + width)

    @property
    def _margins(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return _choose_margins(self.shape_yx, self.fresnel)

    def _pad(self, image_yx: FloatArray) -> Tensor:
        padded = np.pad(image_yx, self._margins, mode="edge").astype(np.float32, copy=False)
        return torch.from_numpy(padded).to(self.device)

    def _cut(self, image: Tensor) -> FloatArray:
        return np.ascontiguousarray(image[self._frame].cpu().numpy(), np.float32)


class Misfit:
    """Half the squared misfit of amplitudes and its gradient, in whitened changes of the phase.

    torch's L-BFGS begins with a step of the gradient over its sum of magnitudes. Changes are
    counted in that sum, so that this is a whole step and no evaluation is spent on finding it.

    Parameters
    ----------
    intensity_kyx, phase_yx, absorption_ratio
        As `PhaseRetriever.refine` has them.
    """

    def __init__(
        self,
        retriever: PhaseRetriever,
        intensity_kyx: FloatArray,
        phase_yx: FloatArray,
        absorption_ratio: FloatArray | float,
    ) -> None:
        self._frame, self._tables = retriever._frame, retriever._tables
        self._start = retriever._pad(phase_yx)
        self._ratio: Tensor | float
        if isinstance(absorption_ratio, np.ndarray):
            self._ratio, least = retriever._pad(absorption_ratio), _LEAST_CURVATURE_KNOWN
        else:
            self._ratio, least = absorption_ratio, _LEAST_CURVATURE
        self._whitening = torch.rsqrt(self._tables.curvature + least)
        self._unit: Tensor | None = None
        amplitude_kyx = np.sqrt(np.maximum(intensity_kyx, 0))
        self._amplitude_kyx = torch.from_numpy(amplitude_kyx).to(retriever.device)

    def find_phase(self, change: Tensor) -> Tensor:
        """Return the phase that a whitened change leads to, padded (F, G)."""
        return (
            self._start if self._unit is None else self._start + self._whiten(self._unit * change)
        )

    @torch.no_grad()  # LBFGS switches it on: a gradient that had a graph would never be freed
    def evaluate(self, change: Tensor) -> tuple[Tensor, Tensor]:
        """Return the misfit and its gradient with respect to ``change`` (F, G); first at 0."""
        phase = self.find_phase(change)
        wave = torch.polar(torch.exp(self._ratio * phase), phase)
        spectrum, back = torch.fft.fft2(wave), torch.zeros_like(wave)
        wrong = torch.zeros_like(wave)  # stays 0 outside the frame, where nothing is known
        total = torch.zeros((), dtype=torch.float64, device=wave.device)
        for amplitude, (rows, columns) in zip(
            self._amplitude_kyx, self._tables.propagators, strict=True
        ):
            seen = torch.fft.ifft2((spectrum * rows).mul_(columns))[self._frame]
            size = torch.sqrt(seen.real**2 + seen.imag**2).clamp(min=_LEAST)
            total += 0.5 * ((size - amplitude) ** 2).sum(dtype=torch.float64)
            wrong[self._frame] = seen * (1 - amplitude / size)
            del seen  # a view of the whole grid
            back += torch.fft.fft2(wrong).mul_(rows.conj()).mul_(columns.conj())
        del spectrum, wrong
        inner = wave.conj() * torch.fft.ifft2(back)
        gradient = self._whiten(inner.imag + self._ratio * inner.real)
        if self._unit is None:
            self._unit = gradient.abs().sum()
        return total, self._unit * gradient

    def _whiten(self, image: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(image) * self._whitening
        white: Tensor = torch.fft.irfft2(spectrum, s=self._tables.shape_yx)
        return white


@dataclass(frozen=True)
class _Tables:
    """Transfer functions on the padded grid (F, G).

    Weights, one a distance, and curvature are of a real transform; propagators are products of a
    column (F, 1) and a row (G,).
    """

    shape_yx: tuple[int, int]
    weights: tuple[Tensor, ...]
    curvature: Tensor
    propagators: tuple[tuple[Tensor, Tensor], ...]


def _choose_margins(
    shape_yx: tuple[int, int], fresnel: tuple[float, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Choose margins that hold the fringes of the farthest distance, at most half a frame each."""

    def split(size: int) -> tuple[int, int]:
        margin = int(min(max(max(fresnel) / 2, size / 8, 16), size / 2))
        extra = fft.next_fast_len(size + 2 * margin) - size
        return extra // 2, extra - extra // 2

    return split(shape_yx[0]), split(shape_yx[1])


def _get_tables(
    shape_yx: tuple[int, int], fresnel: tuple[float, ...], params: RetrievalParams, device: str
) -> _Tables:
    with _MAKING:  # or threads that start together make them all at once
        return _make_tables(shape_yx, fresnel, params, device)


@lru_cache(maxsize=4)
def _make_tables(
    shape_yx: tuple[int, int], fresnel: tuple[float, ...], params: RetrievalParams, device: str
) -> _Tables:
    margins = _choose_margins(shape_yx, fresnel)
    height, width = (n + sum(m) for n, m in zip(shape_yx, margins, strict=True))
    fy, fx = np.square(fft.fftfreq(height)), np.square(fft.fftfreq(width))
    half = (fy[:, None] + np.square(fft.rfftfreq(width))).astype(np.float32)
    chi_kfg = [np.float32(np.pi * f) * half for f in fresnel]
    ratio = np.float32(1 / params.delta_over_beta)
    curvature = sum((np.sin(chi) + ratio * np.cos(chi)) ** 2 for chi in chi_kfg)
    return _Tables(
        shape_yx=(height, width),
        weights=tuple(
            torch.from_numpy(one.astype(np.float32)).to(device)
            for one in _iter_weights(chi_kfg, params)
        ),
        curvature=torch.from_numpy(np.asarray(curvature, np.float32)).to(device),
        propagators=tuple(
            (_propagate(f * fy, device)[:, None], _propagate(f * fx, device)) for f in fresnel
        ),
    )


def _propagate(distance: FloatArray, device: str) -> Tensor:
    return torch.from_numpy(np.exp(-1j * np.pi * distance).astype(np.complex64)).to(device)


def _iter_weights(chi_kfg: list[FloatArray], params: RetrievalParams) -> Iterator[FloatArray]:
    """Yield by how much each distance counts in the linear answer, by frequency."""
    ratio = np.float32(1 / params.delta_over_beta)
    if params.method == "paganin":
        normal = sum((2 * (chi + ratio)) ** 2 for chi in chi_kfg)
        yield from (2 * (chi + ratio) / normal for chi in chi_kfg)
        return
    damping = _damp(np.mean(chi_kfg, axis=0, dtype=np.float32), params)
    if params.method == "ctf":  # absorption is fitted beside the phase (2 x 2)
        ss, cc = (damping + sum((2 * of(chi)) ** 2 for chi in chi_kfg) for of in (np.sin, np.cos))
        sc = sum(-4 * np.sin(chi) * np.cos(chi) for chi in chi_kfg)
        for chi in chi_kfg:
            yield (2 * np.sin(chi) * cc + 2 * np.cos(chi) * sc) / (ss * cc - sc**2)
        return
    normal = damping + sum((2 * (np.sin(chi) + ratio * np.cos(chi))) ** 2 for chi in chi_kfg)
    yield from (2 * (np.sin(chi) + ratio * np.cos(chi)) / normal for chi in chi_kfg)


def _damp(chi: FloatArray, params: RetrievalParams) -> FloatArray:
    """Damping by frequency: coarse below the first maximum of the mean transfer, fine beyond."""
    coarse = (erfc((chi - np.pi / 2) / _EDGE) / 2).astype(np.float32)
    damping: FloatArray = params.damping_coarse * coarse + params.damping_fine * (1 - coarse)
    return damping
