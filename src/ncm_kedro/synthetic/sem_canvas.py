"""A field of view larger than a frame: particles deposited on the electrode, then shaded."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.synthetic.sem_deposit import Deposit, draw_smooth
from ncm_kedro.synthetic.sem_particles import Float, ParticleLaw, draw_fines, draw_sprites

_LAYERS = ((0.75, -1.15, 0.72), (0.75, -0.7, 0.76), (0.62, -0.2, 0.80), (0.42, 0.3, 0.85))
"""Layers of particles from the bottom: share of area tried, level over radius, spacing."""

_VOIDS = (0.08, 0.12, 0.22, 0.30)
"""Share of area that each layer leaves open in patches."""

LIBRARY_SIZE = 160
"""Different particles drawn per canvas; each is used in eight orientations."""


@dataclass(frozen=True)
class Canvas:
    """A rendered field of view.

    Attributes
    ----------
    signal_yx
        Detector signal (H, W), mean 0 and standard deviation 1 over the electrode.
    bare_yx
        True (H, W) where there is bare foil.
    diameters_um
        Diameters of the secondary particles that were deposited, in um.
    """

    signal_yx: Float
    bare_yx: NDArray[np.bool_]
    diameters_um: NDArray[np.float64]


def render_canvas(
    shape: tuple[int, int],
    law: ParticleLaw,
    pixel_size_um: float,
    defocus_px: float,
    rng: np.random.Generator,
) -> Canvas:
    """Render an electrode of particles that follow `law`.

    The grey levels are mapped onto one fixed law, so that brightness and contrast carry the
    recording's settings alone and the class shows in shapes and texture.

    Parameters
    ----------
    shape
        Height and width in px.
    law
        Particle law of the class.
    pixel_size_um
        Edge of a pixel in um.
    defocus_px
        Standard deviation of the focus blur in px.
    rng
        Source of randomness.
    """
    sprites = draw_sprites(law, LIBRARY_SIZE, pixel_size_um, rng)
    fines = draw_fines(law, 40, pixel_size_um, rng)
    radius = 0.5 * law.median_diameter_um / pixel_size_um
    deposit = Deposit(shape, 2 * (int(sprites[0].radius_px) + 3), rng)
    deposit.paint_binder(1.7 * radius, radius)
    laid: list[float] = []
    for (cover, level, spacing), voids in zip(_LAYERS, _VOIDS, strict=True):
        deposit.open_voids(law.patchiness * voids, 3.2 * radius)
        laid += deposit.lay_layer(sprites, cover, level * radius, spacing)
        deposit.lay_fines(fines, 0.12 * law.fines_share, (level + 0.9) * radius)
    deposit.lay_fines(fines, 0.6 * law.fines_share, 0.9 * radius)
    deposit.lay_heaps(fines, int(law.pulverised_fraction * len(laid) / 2), radius)
    signal = deposit.shade(radius, law.film)
    signal = match_grey_law(cv2.GaussianBlur(signal, (0, 0), max(defocus_px, 0.3)))
    return Canvas(signal, np.zeros(shape, np.bool_), np.asarray(laid))


def lay_bare(canvas: Canvas, corner_yx: tuple[int, int], rng: np.random.Generator) -> Canvas:
    """Tear the coating off beyond a slanted, ragged edge, so that bare foil shows.

    Parameters
    ----------
    canvas
        The whole electrode.
    corner_yx
        A point (px) that the edge runs through; the foil is below and to the right of it.
    rng
        Source of randomness.

    Returns
    -------
    Canvas
        The same field with smooth, dark, faintly rolled foil, and the mask of it.
    """
    shape = canvas.signal_yx.shape
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    ragged = 14 * draw_smooth(shape, 60, rng) + 4 * draw_smooth(shape, 9, rng)
    beyond = (x - corner_yx[1]) * 0.86 + (y - corner_yx[0]) * 0.51 + ragged
    bare = beyond > 0
    rolled = np.sin((x * 0.8 - y) * 0.11 + 2 * draw_smooth(shape, 200, rng))
    foil = -1.35 + 0.05 * rolled + 0.06 * draw_smooth(shape, 120, rng)
    lip = 1.1 * np.exp(-((beyond + 6) ** 2) / 50)
    signal = np.where(bare, foil, canvas.signal_yx + lip)
    return Canvas(signal.astype(np.float32), bare, canvas.diameters_um)


def match_grey_law(signal_yx: Float) -> Float:
    """Map a signal (H, W) rank by rank onto a fixed, slightly right-skewed law.

    Returns
    -------
    ndarray of float32, (H, W)
        Mean 0, standard deviation 1: a standardised gamma law of shape 20, cut at +-3.
    """
    from scipy.special import gammaincinv  # noqa: PLC0415  (slow import, needed here alone)

    low, high = float(signal_yx.min()), float(signal_yx.max())
    levels = 2048
    scaled = (signal_yx - low) * ((levels - 1) / max(high - low, 1e-6))
    codes = scaled.astype(np.uint16)
    counts = np.bincount(codes.ravel(), minlength=levels)
    rank = (np.cumsum(counts) - 0.5 * counts) / codes.size
    shape = 20.0
    quantile = (gammaincinv(shape, np.clip(rank, 1e-4, 1 - 1e-4)) - shape) / np.sqrt(shape)
    matched = np.clip(quantile, -3, 3).astype(np.float32)[codes]
    matched = (matched - matched.mean()) / max(float(matched.std()), 1e-6)
    return np.asarray(matched, dtype=np.float32)
