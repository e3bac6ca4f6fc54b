"""Depositing particles on an electrode, and shading the surface.

A field of view larger than a frame: particles deposited on the electrode, then shaded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.synthetic.sem.particles import Float, ParticleLaw, Sprite, draw_fines, draw_sprites


class Deposit:
    """Height and brightness of an electrode on which particles are deposited one by one.

    Parameters
    ----------
    shape
        Height and width of the field in px.
    pad_px
        Rim around it on which particles may overhang, in px.
    rng
        Source of randomness.
    """

    def __init__(self, shape: tuple[int, int], pad_px: int, rng: np.random.Generator) -> None:
        self.shape = shape
        self.pad_px = pad_px
        self.rng = rng
        padded = (shape[0] + 2 * pad_px, shape[1] + 2 * pad_px)
        self.height_yx = np.zeros(padded, np.float32)
        self.shade_yx = np.zeros(padded, np.float32)
        self.voids_yx = np.zeros((padded[0] // 2 + 1, padded[1] // 2 + 1), np.bool_)

    def render_binder(self, floor_px: float, scale_px: float) -> None:
        """Lay carbon and binder down: a dim, mottled floor `floor_px` below the top layer."""
        mottle = draw_smooth(self.height_yx.shape, scale_px, self.rng)
        fine = cv2.GaussianBlur(
            self.rng.standard_normal(self.height_yx.shape, dtype=np.float32), (0, 0), 1.1
        )
        fine /= fine.std()
        self.height_yx[:] = -floor_px + 0.25 * scale_px * mottle + 0.8 * fine
        self.shade_yx[:] = 0.42 + 0.05 * mottle + 0.10 * fine

    def open_voids(self, share: float, scale_px: float) -> None:
        """Keep particles out of a fraction of the field, in patches of that size."""
        patches = draw_smooth(self.voids_yx.shape, scale_px / 2, self.rng)
        patches += 0.6 * draw_smooth(self.voids_yx.shape, scale_px / 5, self.rng)
        self.voids_yx[:] = patches > np.quantile(patches, 1 - share)

    def lay(self, sprite: Sprite, y_px: int, x_px: int, level_px: float) -> None:
        """Lay a particle with its equator at `level_px`, in one of eight orientations."""
        turn = int(self.rng.integers(8))
        height, shade = (
            _orient(sprite.height_yx, turn),
            _orient(sprite.shade_yx, turn),
        )
        half = height.shape[0] // 2
        rows = slice(y_px - half, y_px + half + 1)
        columns = slice(x_px - half, x_px + half + 1)
        raised = height + np.float32(level_px)
        seen = raised > self.height_yx[rows, columns]
        np.copyto(self.height_yx[rows, columns], raised, where=seen)
        np.copyto(self.shade_yx[rows, columns], shade, where=seen)

    def add_layer(
        self, sprites: list[Sprite], cover: float, level_px: float, spacing: float
    ) -> list[float]:
        """Deposit particles side by side until they cover a fraction of the field, or no more fit.

        Parameters
        ----------
        sprites
            Library to draw from, each as likely as the other.
        cover
            Fraction of the field to cover, 0-1.
        level_px
            Height of the particles' equators, scattered by a quarter of their radius.
        spacing
            Smallest distance of centres over the sum of radii.

        Returns
        -------
        list of float
            Diameters in um of the deposited particles.
        """
        rng, pad = self.rng, self.pad_px
        area = float(np.prod(self.height_yx.shape))
        mean_area = float(np.mean([np.pi * s.radius_px**2 for s in sprites]))
        count = int(cover * area / mean_area)
        order = np.sort(rng.integers(0, len(sprites), count))
        taken = self.voids_yx.astype(np.uint8)
        laid: list[float] = []
        low, high = pad // 2, np.array(self.height_yx.shape) - pad // 2 - 1
        places = rng.integers(low, high, (count, 12, 2)).tolist()
        for index, tries in zip(order, places, strict=True):
            sprite = sprites[index]
            radius = sprite.radius_px * spacing
            for y, x in tries:
                if not _is_taken(taken, y, x, radius):
                    cv2.circle(taken, (x // 2, y // 2), int(radius / 2), 1, -1)
                    scatter = 0.35 * sprite.radius_px * rng.standard_normal()
                    self.lay(sprite, y, x, level_px + scatter)
                    laid.append(sprite.diameter_um)
                    break
        return laid

    def add_fines(self, sprites: list[Sprite], cover: float, level_px: float) -> None:
        """Scatter loose fines in drifts until they would cover a fraction of the field."""
        rng, pad = self.rng, self.pad_px
        rows, columns = self.height_yx.shape
        mean_area = float(np.mean([np.pi * s.radius_px**2 for s in sprites]))
        count = int(cover * rows * columns / mean_area)
        drifts = rng.uniform((0, 0), (rows, columns), (max(1, count // 9), 2))
        spread = 4.0 * float(np.mean([s.radius_px for s in sprites]))
        at = drifts[rng.integers(0, len(drifts), count)] + rng.normal(0, spread, (count, 2))
        at = np.clip(at, pad // 2, np.array([rows, columns]) - pad // 2 - 1).astype(int)
        for (y, x), index in zip(at, rng.integers(0, len(sprites), count), strict=True):
            height = float(self.height_yx[y, x])
            if height < level_px:
                self.lay(sprites[index], int(y), int(x), height + 0.5)

    def add_heaps(self, sprites: list[Sprite], count: int, radius_px: float) -> None:
        """Lay `count` heaps of fines, each the remains of a particle of that radius."""
        rng, pad = self.rng, self.pad_px
        low = pad // 2 + int(1.6 * radius_px)
        low = min(low, min(self.height_yx.shape) // 2 - 1)
        for _ in range(count):
            centre = [rng.integers(low, size - low) for size in self.height_yx.shape]
            pieces = max(4, int(1.1 * (radius_px / sprites[0].radius_px) ** 2) + 10)
            for offset in rng.normal(0, 0.55 * radius_px, (min(pieces, 60), 2)):
                y, x = (
                    int(np.clip(c + o, pad // 2, s - pad // 2 - 1))
                    for c, o, s in zip(centre, offset, self.height_yx.shape, strict=True)
                )
                lift = 0.7 * radius_px * np.exp(-float(offset @ offset) / radius_px**2)
                self.lay(sprites[int(rng.integers(len(sprites)))], y, x, lift)

    def shade(self, scale_px: float, film: float) -> Float:
        """Return the detector signal of the deposit, without the rim.

        Deep and enclosed places yield fewer electrons: the signal falls with the height below
        the surroundings at two scales (Reimer 1998, section 4.2.3: shadowing of the detector).

        Parameters
        ----------
        scale_px
            Typical particle radius in px.
        film
            Strength of the surface film, 0-1, which lifts the gaps.
        """
        height = np.maximum(self.height_yx, -2.2 * scale_px)
        near = height - cv2.GaussianBlur(height, (0, 0), 0.45 * scale_px)
        small = cv2.resize(height, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), 0.4 * scale_px)
        wide = height - cv2.resize(small, height.shape[::-1], interpolation=cv2.INTER_LINEAR)
        openness = 1 / (1 + np.exp(-(1.1 + 3.2 * near / scale_px + 1.4 * wide / scale_px)))
        lit = cv2.Sobel(cv2.GaussianBlur(height, (0, 0), 1.5), cv2.CV_32F, 0, 1, scale=0.125)
        signal = self.shade_yx * (0.05 + 0.25 * film + (1 - 0.25 * film) * openness)
        signal += 0.09 * np.clip(lit, -1, 1) + 0.03 * draw_smooth(
            height.shape, 9 * scale_px, self.rng
        )
        pad = self.pad_px
        return np.ascontiguousarray(signal[pad:-pad, pad:-pad], dtype=np.float32)


def draw_smooth(shape: tuple[int, ...], scale_px: float, rng: np.random.Generator) -> Float:
    """Return a smooth random field of that length scale, mean 0 and standard deviation 1."""
    step = max(2.0, scale_px / 2)
    small = (int(shape[0] / step) + 4, int(shape[1] / step) + 4)
    field = cv2.GaussianBlur(rng.standard_normal(small, dtype=np.float32), (0, 0), 1.0)
    field = cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    field = (field - field.mean()) / max(float(field.std()), 1e-6)
    return np.asarray(field, dtype=np.float32)


def _is_taken(taken: NDArray[np.uint8], y: int, x: int, radius: float) -> bool:
    """Return whether a disc (px of the full field) overlaps a taken one (half resolution)."""
    if taken[y // 2, x // 2]:
        return True
    return any(
        taken[int((y + radius * down) * 0.5), int((x + radius * right) * 0.5)]
        for down, right in _COMPASS
    )


_COMPASS = [(math.sin(a), math.cos(a)) for a in np.linspace(0, 2 * math.pi, 10, endpoint=False)]


def _orient(image_yx: Float, turn: int) -> Float:
    """Return one of the eight orientations of a square image, as a view."""
    view = image_yx.T if turn & 4 else image_yx
    return view[:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1]


_LAYERS = ((0.75, -1.15, 0.72), (0.75, -0.7, 0.76), (0.62, -0.2, 0.80), (0.42, 0.3, 0.85))
"""Layers of particles from the bottom: fraction of area tried, level over radius, spacing."""

_VOIDS = (0.08, 0.12, 0.22, 0.30)
"""Fraction of area that each layer leaves open in patches."""

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

    The grey levels are mapped onto one fixed distribution, so that brightness and contrast carry
    the recording's settings alone and the class shows in shapes and texture.

    Parameters
    ----------
    shape
        Height and width in px.
    pixel_size_um
        Edge of a pixel in um.
    defocus_px
        Standard deviation of the focus blur in px.
    """
    sprites = draw_sprites(law, LIBRARY_SIZE, pixel_size_um, rng)
    fines = draw_fines(law, 40, pixel_size_um, rng)
    radius = 0.5 * law.median_diameter_um / pixel_size_um
    deposit = Deposit(shape, 2 * (int(sprites[0].radius_px) + 3), rng)
    deposit.render_binder(1.7 * radius, radius)
    laid: list[float] = []
    for (cover, level, spacing), voids in zip(_LAYERS, _VOIDS, strict=True):
        deposit.open_voids(law.patchiness * voids, 3.2 * radius)
        laid += deposit.add_layer(sprites, cover, level * radius, spacing)
        deposit.add_fines(fines, 0.12 * law.fines_fraction, (level + 0.9) * radius)
    deposit.add_fines(fines, 0.6 * law.fines_fraction, 0.9 * radius)
    deposit.add_heaps(fines, int(law.pulverised_fraction * len(laid) / 2), radius)
    signal = deposit.shade(radius, law.film)
    signal = match_grey_law(cv2.GaussianBlur(signal, (0, 0), max(defocus_px, 0.3)))
    return Canvas(signal, np.zeros(shape, np.bool_), np.asarray(laid))


def expose_foil(canvas: Canvas, corner_yx: tuple[int, int], rng: np.random.Generator) -> Canvas:
    """Tear the coating off beyond a slanted, ragged edge, so that bare foil shows.

    Parameters
    ----------
    corner_yx
        A point (px) that the edge runs through; the foil is below and to the right of it.

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
    """Map a signal (H, W) rank by rank onto a fixed, slightly right-skewed distribution.

    Returns
    -------
    ndarray of float32, (H, W)
        Mean 0, standard deviation 1: a standardised gamma distribution of shape 20, cut at +-3.
    """
    from scipy.special import gammaincinv

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
