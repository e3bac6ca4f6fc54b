"""Sections of tomogram phantoms for training: a grey image and the outlines of its particles.

Unlike the volumes of :mod:`ncm_kedro.synthetic.tomo.volume`, a section is drawn in the plane:
that is fast enough to draw a new one for every training step. Lengths are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from ncm_kedro.params.tomo_phantoms import TomoSectionParams
from ncm_kedro.synthetic.tomo.outlines import ANGLES, Outlines, draw, place_outlines
from ncm_kedro.synthetic.tomo.section_damage import (
    DamageFields,
    DamageShares,
    Patch,
    draw_damage,
    draw_damage_fields,
    draw_damage_shares,
)
from ncm_kedro.synthetic.tomo.section_imaging import (
    draw_bands,
    draw_matrix,
    image_section,
)

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.int32]

_FAR_PX = np.float32(1e6)
_VISIBLE = 0.27
"""Least contrast of a particle that carries a label, as a fraction of the full contrast."""


@dataclass(frozen=True)
class TrainingSection:
    """A section and its truth.

    Attributes
    ----------
    image_yx
        (H, W) float32, grey values 0-255.
    labels_yx
        (H, W) int32; 0 background, 1..n particles. A label fills the particle's outer outline,
        cracks, voids and pulverised rim included; it ends where the blurred edge is at half
        its contrast. Touching particles touch, and a particle is in one piece.
    """

    image_yx: FloatArray
    labels_yx: LabelArray


@dataclass
class _Canvas:
    """What has been drawn so far; each (H, W)."""

    nearest_px: FloatArray
    second_px: FloatArray
    solid: FloatArray
    soft_px: FloatArray
    owner: LabelArray


def training_section(
    rng: np.random.Generator, size_px: int | tuple[int, int], params: TomoSectionParams
) -> TrainingSection:
    """Draw a section with everything that may vary.

    Parameters
    ----------
    size_px
        Edge of the square section, or its rows and columns (px).

    Returns
    -------
    TrainingSection
        Image and labels.
    """
    shape = (size_px, size_px) if isinstance(size_px, int) else size_px
    bands = draw_bands(rng, shape, params.imaging)
    outlines = place_outlines(rng, *shape, bands.electrode_rows, params.shape)
    radius = float(outlines.radii_px.mean()) if outlines.radii_px.size else 20.0
    fields = draw_damage_fields(rng, shape, radius)
    canvas = _draw_particles(rng, shape, outlines, fields, params)
    matrix = draw_matrix(rng, shape, bands, radius, params)
    solid_yx, cover_yx = _join_particles(rng, canvas, fields, radius, params)
    scene_yx = matrix * (1 - cover_yx) + solid_yx * cover_yx
    image, inside = image_section(rng, scene_yx, params.imaging)
    labels = np.where((canvas.nearest_px < 0) & inside, canvas.owner, 0)
    return TrainingSection(image, number_labels(labels.astype(np.int32)))


def number_labels(labels_yx: LabelArray) -> LabelArray:
    """Keep the largest piece of every label and number the labels 1..n.

    Parameters
    ----------
    labels_yx
        (H, W), 0 is background.

    Returns
    -------
    (H, W) array of int32
        In the order of the labels given.
    """
    out = np.zeros_like(labels_yx)
    number = 0
    for value, region in _list_regions(labels_yx):
        mask = (labels_yx[region] == value).view(np.uint8)
        pieces, piece_yx, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        if pieces < 2:
            continue
        number += 1
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        out[region][piece_yx == largest] = number
    return out


def _list_regions(labels_yx: LabelArray) -> list[tuple[int, tuple[slice, slice]]]:
    return [(i, r) for i, r in enumerate(find_objects(labels_yx), start=1) if r is not None]


def _draw_particles(
    rng: np.random.Generator,
    shape_yx: tuple[int, int],
    outlines: Outlines,
    fields: DamageFields,
    params: TomoSectionParams,
) -> _Canvas:
    canvas = _Canvas(
        nearest_px=np.full(shape_yx, _FAR_PX),
        second_px=np.full(shape_yx, _FAR_PX),
        solid=np.ones(shape_yx, np.float32),
        soft_px=np.ones(shape_yx, np.float32),
        owner=np.zeros(shape_yx, np.int32),
    )
    shares = draw_damage_shares(rng, params.damage)
    texture = draw(rng, params.imaging.texture)
    faint = draw(rng, params.damage.faint)
    spread = rng.uniform(0.0, 0.12)
    for number, (centre, table) in enumerate(
        zip(outlines.centres_px, outlines.tables_px, strict=True), start=1
    ):
        tone, soft = float(np.clip(1 + spread * rng.standard_normal(), 0.6, 1.4)), 1.0
        if rng.random() < faint:
            tone, soft = rng.uniform(0.05, 0.85), rng.uniform(2.0, 7.0)
        patch = _cut_patch(shape_yx, centre, table, soft)
        if patch is not None:
            _draw_particle(rng, canvas, patch, table, fields, shares, (number, tone, soft, texture))
    return canvas


def _cut_patch(
    shape_yx: tuple[int, int], centre: FloatArray, table: FloatArray, soft_px: float
) -> Patch | None:
    """Coordinates of the pixels around a particle, None if it lies outside the section."""
    reach = float(table.max()) + 3 + soft_px
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.minimum(np.ceil(centre + reach) + 1, shape_yx).astype(int)
    if (low >= high).any():
        return None
    dy = np.arange(low[0], high[0], dtype=np.float32)[:, None] - centre[0]
    dx = np.arange(low[1], high[1], dtype=np.float32)[None, :] - centre[1]
    dy, dx = np.broadcast_arrays(dy, dx)
    distance = np.sqrt(dy * dy + dx * dx)
    step = ((np.arctan2(dy, dx) + np.float32(np.pi)) * np.float32(ANGLES / (2 * np.pi))).astype(
        np.intp
    )
    step %= ANGLES
    rho = distance / table[step]
    region = (slice(low[0], high[0]), slice(low[1], high[1]))
    return Patch(region, dy, dx, distance, step, rho, float(table.mean()))


def _draw_particle(  # noqa: PLR0917
    rng: np.random.Generator,
    canvas: _Canvas,
    patch: Patch,
    table: FloatArray,
    fields: DamageFields,
    shares: DamageShares,
    look: tuple[int, float, float, float],
) -> None:
    """Draw one particle where no other one is nearer."""
    number, tone, soft, texture = look  # identity, grey value, edge width (px), mottling
    step = patch.step_yx
    slope = (np.roll(table, -2) - np.roll(table, 2)) * np.float32(ANGLES / (8 * np.pi)) / table
    signed = (patch.distance_yx - table[step]) / np.sqrt(1 + slope**2)[step]
    nearest = canvas.nearest_px[patch.region]
    second = canvas.second_px[patch.region]
    np.minimum(second, np.maximum(signed, nearest), out=second)
    won = (signed < nearest) & (signed < 3 + soft)
    if not won.any():
        return
    gone = draw_damage(rng, patch, fields, shares)
    mottle = 0.7 * fields.fine_yx[patch.region] + 0.7 * fields.coarse_yx[patch.region]
    profile = rng.normal(0, 0.08) * (patch.rho_yx - 0.6)
    solid = tone * (1 + texture * mottle + profile) * (1 - gone)
    nearest[won] = signed[won]
    canvas.solid[patch.region][won] = solid[won]
    canvas.soft_px[patch.region][won] = soft
    canvas.owner[patch.region][won] = number if tone >= _VISIBLE else 0


def _join_particles(
    rng: np.random.Generator,
    canvas: _Canvas,
    fields: DamageFields,
    radius_px: float,
    params: TomoSectionParams,
) -> tuple[FloatArray, FloatArray]:
    """Grey value and coverage (0-1) of the particles; contacts may show as a darker seam."""
    ragged = draw(rng, params.shape.jaggedness) * radius_px
    edge = canvas.nearest_px + ragged * (fields.fine_yx + 0.7 * fields.coarse_yx)
    cover = np.clip(0.5 - edge / canvas.soft_px, 0, 1)
    depth, width = rng.uniform(0, 0.7) * (rng.random() < 0.7), rng.uniform(0.8, 2.5)
    gap = np.minimum(canvas.second_px - canvas.nearest_px, 50.0)
    seam = np.where(canvas.second_px < 2.5, np.exp(-((gap / width) ** 2)), 0)
    solid: FloatArray = (canvas.solid * (1 - depth * seam)).astype(np.float32)
    return solid, cover.astype(np.float32)
