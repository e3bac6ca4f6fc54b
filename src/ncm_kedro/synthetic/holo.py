"""Phantom holo-tomographic scan: spheres of NMC in a pillar of carbon and binder.

Line integrals are exact; images follow from Fresnel propagation at several distances, with photon
noise, structured flats that drift, zingers, detector columns of wrong gain, and sample drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import affine_transform, gaussian_filter

from ncm_kedro.params.holo import HoloPhantomParams

FloatArray = NDArray[np.float32]

NMC_DELTA, NMC_BETA = 3.24e-6, 1.13e-7
"""Index of NMC811 (4.7 g/cm3) at 17 keV: 1.36 electrons per A3; mass absorption of its elements."""
BINDER_DELTA, BINDER_BETA = 9.0e-7, 1.0e-9
"""Index of the porous mixture of carbon and binder at 17 keV."""
FRAMES_OF_FLAT = 10
_TRIALS = 4000
_PAD = 2


@dataclass(frozen=True)
class HoloPhantom:
    """A pillar with spheres; lengths in um from the middle of the field of view.

    Attributes
    ----------
    pillar_um
        Radius and half height.
    spheres_um
        (N, 4), centre z, y, x and radius.
    """

    pillar_um: tuple[float, float]
    spheres_um: NDArray[np.float64]


def make_phantom(params: HoloPhantomParams) -> HoloPhantom:
    """Place spheres that do not overlap within a pillar that leaves air around it."""
    rng = np.random.default_rng([params.seed, 1])
    half = params.size_px * params.voxel_size_um / 2
    radius, height = params.pillar_fraction * half, params.pillar_fraction * half
    spheres: list[NDArray[np.float64]] = []
    for _ in range(_TRIALS):
        r = rng.uniform(*params.diameter_um) / 2
        z, y, x = rng.uniform(-radius, radius, 3)
        fits = np.hypot(y, x) + r < radius and abs(z) + r < height
        if fits and all(np.hypot.reduce(s[:3] - (z, y, x)) > s[3] + r for s in spheres):
            spheres.append(np.array([z, y, x, r]))
    return HoloPhantom((radius, height), np.array(spheres))


def project_phantom(
    phantom: HoloPhantom, angle_deg: float, size_px: int, pixel_um: float, *, samples: int = 2
) -> tuple[FloatArray, FloatArray]:
    """Integrate along parallel rays.

    Returns
    -------
    nmc_um_yx, binder_um_yx
        (Y, X), length of the way through each material (um), means over each pixel.
    """
    nmc, binder = np.zeros((size_px, size_px)), np.zeros((size_px, size_px))
    edge = (np.arange(size_px) - (size_px - 1) / 2) * pixel_um
    angle = np.deg2rad(angle_deg)
    radius, height = phantom.pillar_um
    offsets = ((np.arange(samples) + 0.5) / samples - 0.5) * pixel_um
    for dz in offsets:
        for du in offsets:
            z, u = edge[:, None] + dz, edge[None] + du
            binder += 2 * np.sqrt(np.maximum(radius**2 - u**2, 0)) * (np.abs(z) <= height)
            for cz, cy, cx, r in phantom.spheres_um:
                rows = np.abs(z[:, 0] - cz) <= r
                across = u - (cx * np.cos(angle) + cy * np.sin(angle))
                nmc[rows] += 2 * np.sqrt(np.maximum(r**2 - (z[rows] - cz) ** 2 - across**2, 0))
    nmc, binder = nmc / samples**2, binder / samples**2
    return nmc.astype(np.float32), (binder - nmc).astype(np.float32)


def label_phantom(phantom: HoloPhantom, size_px: int, voxel_um: float) -> NDArray[np.uint16]:
    """Draw the number of the sphere that holds each voxel, (Z, Y, X); 0: none."""
    edge = (np.arange(size_px) - (size_px - 1) / 2) * voxel_um
    z, y, x = np.meshgrid(edge, edge, edge, indexing="ij", sparse=True)
    labels = np.zeros((size_px,) * 3, np.uint16)
    for number, (cz, cy, cx, r) in enumerate(phantom.spheres_um, start=1):
        labels[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= r**2] = number
    return labels


def draw_phantom(phantom: HoloPhantom, size_px: int, voxel_um: float) -> FloatArray:
    """Draw delta of every voxel, (Z, Y, X)."""
    edge = (np.arange(size_px) - (size_px - 1) / 2) * voxel_um
    radius, height = phantom.pillar_um
    z, y, x = np.meshgrid(edge, edge, edge, indexing="ij", sparse=True)
    pillar = (np.hypot(y, x) <= radius) & (np.abs(z) <= height)
    delta = np.where(pillar, BINDER_DELTA, 0)
    delta[label_phantom(phantom, size_px, voxel_um) > 0] = NMC_DELTA
    return delta.astype(np.float32)


def propagate_projection(
    nmc_um_yx: FloatArray,
    binder_um_yx: FloatArray,
    wavelength_um: float,
    fresnel: tuple[float, ...],
) -> FloatArray:
    """Compute the intensity behind the sample at each distance, (K, Y, X).

    Parameters
    ----------
    fresnel
        Wavelength times distance over the area of a pixel.
    """
    k = 2 * np.pi / wavelength_um
    phase = -k * (NMC_DELTA * nmc_um_yx + BINDER_DELTA * binder_um_yx)
    absorption = k * (NMC_BETA * nmc_um_yx + BINDER_BETA * binder_um_yx)
    spectrum = fft.fft2(np.exp(1j * phase - absorption).astype(np.complex64))
    height, width = nmc_um_yx.shape
    square = fft.fftfreq(height)[:, None] ** 2 + fft.fftfreq(width)[None] ** 2
    waves = [fft.ifft2(spectrum * np.exp(-1j * np.pi * f * square)) for f in fresnel]
    return np.stack([np.abs(wave) ** 2 for wave in waves]).astype(np.float32)


def draw_shifts(params: HoloPhantomParams) -> NDArray[np.float64]:
    """Draw by how much each distance is off, and drifts, (A, K, 2) in px of the finest pixel."""
    rng = np.random.default_rng([params.seed, 2])
    count, distances = params.angles, len(params.focus_sample_mm)
    time = np.linspace(0, 1, count)[:, None, None]
    start = rng.uniform(-4, 4, (distances, 2)) * params.drift
    shifts = start + rng.uniform(-1.5, 1.5, (distances, 2)) * time * params.drift
    shifts[:, 0] = 0
    return shifts


def iter_frames(params: HoloPhantomParams) -> Iterator[tuple[float, NDArray[np.uint16]]]:
    """Render the projections of all distances, angle by angle.

    Yields
    ------
    angle_deg, frames_kyx
        (K, Y, X) uint16, counts of the detector.
    """
    phantom = make_phantom(params)
    shifts = draw_shifts(params)
    inner = slice(params.size_px // 2, params.size_px // 2 + params.size_px)
    scales = [pixel / params.voxel_size_um for pixel in params.pixel_um]
    detectors = [_Detector(params, number) for number in range(len(scales))]
    for number, angle in enumerate(np.arange(params.angles) * params.turn_deg / params.angles):
        lines = project_phantom(phantom, angle, _PAD * params.size_px, params.voxel_size_um)
        images = propagate_projection(*lines, params.wavelength_um, params.fresnel)
        frames = []
        for distance, (image, scale) in enumerate(zip(images, scales, strict=True)):
            middle = (np.array(image.shape) - 1) / 2
            offset = middle - scale * middle - shifts[number, distance]
            seen = affine_transform(image, [scale, scale], offset, order=3, mode="nearest")
            seen = np.maximum(seen, 0)  # splines overshoot
            frames.append(detectors[distance].record(seen[inner, inner], number))
        yield float(angle), np.stack(frames)


def make_flats(params: HoloPhantomParams, distance: int, place: int) -> NDArray[np.uint16]:
    """Render flats taken before the projection ``place``, (F, Y, X)."""
    detector = _Detector(params, distance)
    empty = np.ones((params.size_px, params.size_px), np.float32)
    return np.stack([detector.record(empty, place, -1 - n) for n in range(FRAMES_OF_FLAT)])


def make_darks(params: HoloPhantomParams) -> NDArray[np.uint16]:
    """Render darks, (F, Y, X)."""
    return np.full((FRAMES_OF_FLAT, params.size_px, params.size_px), _DARK, np.uint16)


_DARK = 100


class _Detector:
    """Beam and detector of one distance."""

    def __init__(self, params: HoloPhantomParams, distance: int) -> None:
        shape = (params.size_px, params.size_px)
        rng = np.random.default_rng([params.seed, 3, distance])
        bands = gaussian_filter(rng.standard_normal(shape), (3, 25))
        speckle = gaussian_filter(rng.standard_normal(shape), 2)
        self._beam = 1 + params.defects * (
            0.15 * bands / bands.std() + 0.05 * speckle / speckle.std()
        )
        self._fade = 1 - 0.05 * params.defects
        gain = np.ones(shape)
        rng = np.random.default_rng([params.seed, 5])  # one detector serves all distances
        columns = rng.choice(shape[1], max(1, shape[1] // 40), replace=False)
        gain[:, columns] += 0.03 * params.defects * rng.standard_normal(len(columns))
        self._gain = gain  # hits the sample's frames alone: a response that is not linear
        self._params, self._distance = params, distance

    def record(self, intensity: FloatArray, place: int, repeat: int = 0) -> NDArray[np.uint16]:
        params = self._params
        rng = np.random.default_rng([params.seed, 4, self._distance, place, repeat + 100])
        fade = 1 + (self._fade - 1) * place / max(params.angles, 1)
        mean = params.photons * np.clip(self._beam, 0.2, None) * fade * intensity
        counts = rng.poisson(mean * (self._gain if repeat == 0 else 1)).astype(np.float64)
        if repeat == 0 and params.defects:
            hits = rng.integers(0, params.size_px, (2, max(1, params.size_px // 32)))
            counts[hits[0], hits[1]] += params.photons * rng.uniform(3, 10, hits.shape[1])
        return np.asarray(np.clip(counts + _DARK, 0, 65535), np.uint16)
