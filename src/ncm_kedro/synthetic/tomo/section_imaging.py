"""What lies between the particles of a training section, and how the section is imaged.

Grey values are in units of contrast: 0 the matrix, 1 a sound particle.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.params.tomo_phantoms import SectionImagingParams, TomoSectionParams
from ncm_kedro.synthetic.tomo.outlines import draw

FloatArray = NDArray[np.float32]

_MAX_DIRECT_SIGMA_PX = 3.0


def draw_smooth(rng: np.random.Generator, shape_yx: tuple[int, int], sigma_px: float) -> FloatArray:
    """Draw Gaussian noise of a given grain.

    Parameters
    ----------
    sigma_px
        Standard deviation of the blur that sets the grain (px); 0 gives white noise. Coarse
        grain is drawn on a coarser grid and interpolated.

    Returns
    -------
    (H, W) array
        Mean about 0, standard deviation 1.
    """
    step = max(1.0, sigma_px / _MAX_DIRECT_SIGMA_PX)
    margin = 4
    rows = int(np.ceil(shape_yx[0] / step)) + 2 * margin
    columns = int(np.ceil(shape_yx[1] / step)) + 2 * margin
    field = rng.standard_normal((rows, columns), dtype=np.float32)
    sigma = sigma_px / step
    if sigma > 0:
        field = blur(field, sigma)
        field *= np.float32(_blur_gain(sigma))
    field = field[margin:-margin, margin:-margin]
    if step > 1:
        field = cv2.resize(field, shape_yx[::-1], interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(field[: shape_yx[0], : shape_yx[1]])


def draw_streaks(
    rng: np.random.Generator, shape_yx: tuple[int, int], angle: float, length_px: float
) -> FloatArray:
    """Draw noise that is drawn out along one direction.

    Parameters
    ----------
    angle
        Direction of the streaks, from the x axis towards the y axis (rad).
    length_px
        Standard deviation of the blur along the direction (px).

    Returns
    -------
    (H, W) array
        Mean about 0, standard deviation 1.
    """
    half = int(np.ceil(2.5 * length_px)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-(along**2) / (2 * length_px**2) - across**2 / (2 * 0.7**2))
    kernel /= np.sqrt((kernel**2).sum())
    padded = (shape_yx[0] + 2 * half, shape_yx[1] + 2 * half)
    noise = rng.standard_normal(padded, dtype=np.float32)
    return np.ascontiguousarray(cv2.filter2D(noise, -1, kernel)[half:-half, half:-half])


def draw_cells(
    rng: np.random.Generator, shape_yx: tuple[int, int], spacing_px: float
) -> tuple[FloatArray, NDArray[np.int32]]:
    """Break the plane into irregular cells around random seeds (Voronoi cells).

    Parameters
    ----------
    spacing_px
        Typical distance between seeds (px).

    Returns
    -------
    edge_yx : (H, W) array
        Distance to the nearest border between cells (px).
    cell_yx : (H, W) array of int32
        Number of the cell, from 1.
    """
    count = max(2, int(shape_yx[0] * shape_yx[1] / spacing_px**2))
    free = np.ones(shape_yx, np.uint8)
    free[rng.integers(shape_yx[0], size=count), rng.integers(shape_yx[1], size=count)] = 0
    _, cell = cv2.distanceTransformWithLabels(
        free, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    same = np.ones(shape_yx, np.uint8)
    same[:, 1:] &= (cell[:, 1:] == cell[:, :-1]).view(np.uint8)
    same[1:] &= (cell[1:] == cell[:-1]).view(np.uint8)
    edge = cv2.distanceTransform(same, cv2.DIST_L2, cv2.DIST_MASK_3)
    return edge.astype(np.float32), cell.astype(np.int32)


def blur(image_yx: FloatArray, sigma_px: float) -> FloatArray:
    """Blur with a Gaussian of a standard deviation in px; 0 changes nothing."""
    if sigma_px <= 0:
        return image_yx
    blurred = cv2.GaussianBlur(image_yx, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.float32)


def _blur_gain(sigma_px: float) -> float:
    """Factor that gives blurred white noise its standard deviation of 1 back."""
    reach = np.arange(-int(4 * sigma_px) - 1, int(4 * sigma_px) + 2)
    kernel = np.exp(-(reach**2) / (2 * sigma_px**2))
    kernel /= kernel.sum()
    return float(1 / (kernel**2).sum())


BoolArray = NDArray[np.bool_]

_ROUND_VIEW_PX = (350.0, 2500.0)


@dataclass(frozen=True)
class Bands:
    """Current collector above and separator below the electrode.

    Attributes
    ----------
    electrode_rows
        First and last row (px) that are left to particles.
    """

    electrode_rows: tuple[float, float]


def draw_bands(
    rng: np.random.Generator, shape_yx: tuple[int, int], params: SectionImagingParams
) -> Bands:
    """Draw how much of a section the bands take up."""
    height = shape_yx[0]
    top, bottom = 0.0, float(height)
    if rng.random() < params.band:
        which = rng.integers(3)
        if which != 1:
            top = height * rng.uniform(0.05, 0.35)
        if which != 0:
            bottom = height * (1 - rng.uniform(0.05, 0.35))
    return Bands((top, bottom))


def draw_matrix(
    rng: np.random.Generator,
    shape_yx: tuple[int, int],
    bands: Bands,
    radius_px: float,
    params: TomoSectionParams,
) -> FloatArray:
    """Draw carbon, binder, pores, debris and bands.

    Parameters
    ----------
    radius_px
        Mean radius of the particles, which sets the grain.

    Returns
    -------
    (H, W) array
        Grey values in units of contrast.
    """
    grain = float(np.clip(radius_px, 8, 60))
    strength = draw(rng, params.imaging.matrix_texture)
    fine = draw_smooth(rng, shape_yx, grain * rng.uniform(0.03, 0.12))
    coarse = draw_smooth(rng, shape_yx, grain * rng.uniform(0.15, 0.6))
    matrix: FloatArray = (strength * (0.5 * fine + 0.6 * coarse)).astype(np.float32)
    if rng.random() < 0.6:
        binder = np.clip(coarse - rng.uniform(0.3, 1.6), 0, 1)
        matrix += np.float32(rng.uniform(0.0, 1.5) * strength) * binder
    if rng.random() < 0.5:
        pores = np.clip(-coarse - rng.uniform(0.8, 2.0), 0, 0.7)
        matrix -= np.float32(rng.uniform(0.0, 2.0) * strength) * pores
    _add_debris(rng, matrix, grain, draw(rng, params.damage.debris))
    _add_bands(rng, matrix, bands)
    return matrix


def _add_debris(
    rng: np.random.Generator, matrix_yx: FloatArray, grain_px: float, amount: float
) -> None:
    """Add heaps of crumbs, and single crumbs, too small or too loose for a label."""
    shape = (matrix_yx.shape[0], matrix_yx.shape[1])
    if amount <= 0:  # a test's or a user's wish for a plain matrix
        return
    heap = draw_smooth(rng, shape, grain_px * rng.uniform(0.25, 0.6))
    heap = np.clip((heap - (2.5 - 1.6 * amount)) * 3, 0, 1)
    crumb = float(np.clip(grain_px * rng.uniform(0.12, 0.3), 2.0, 8.0))
    edge, cell = draw_cells(rng, shape, crumb)
    tones = rng.uniform(-0.9, 1.0, int(cell.max()) + 1).astype(np.float32)
    grains = np.clip(tones, 0, None)[cell] * np.clip(edge / 1.5, 0.2, 1)
    single = (np.abs(tones) > 1 - 0.012 * amount)[cell] * np.float32(rng.uniform(0.4, 1))
    matrix_yx += np.maximum(heap * grains * rng.uniform(0.5, 1), single)


def _add_bands(rng: np.random.Generator, matrix_yx: FloatArray, bands: Bands) -> None:
    """Lay streaky bands over the rows that particles may not reach, with uneven borders."""
    height, width = matrix_yx.shape
    if bands.electrode_rows == (0.0, float(height)):
        return
    rows = np.arange(height, dtype=np.float32)[:, None]
    streaks = draw_streaks(rng, (height, width), rng.normal(0, 0.2), rng.uniform(2, 8))
    for row, sign in ((bands.electrode_rows[0], 1), (height - bands.electrode_rows[1], -1)):
        if row <= 0:
            continue
        limit = row if sign > 0 else bands.electrode_rows[1]
        wave = draw_smooth(rng, (1, width), rng.uniform(5, 40))[0] * rng.uniform(0, 2.5)
        inside = np.clip(0.5 + sign * (limit - sign * rng.uniform(0, 4) + wave - rows) / 2, 0, 1)
        tone = rng.uniform(-0.15, 0.45) + rng.uniform(0.0, 0.08) * streaks
        matrix_yx += inside * (tone - matrix_yx)


def image_section(
    rng: np.random.Generator, scene_yx: FloatArray, params: SectionImagingParams
) -> tuple[FloatArray, BoolArray]:
    """Image a section.

    Parameters
    ----------
    scene_yx
        (H, W), grey values in units of contrast.

    Returns
    -------
    image_yx : (H, W) array
        Grey values 0-255.
    inside_yx : (H, W) array of bool
        The field of view.
    """
    shape = (scene_yx.shape[0], scene_yx.shape[1])
    image = blur(scene_yx, draw(rng, params.blur_px))
    reach = rng.uniform(1.5, 5.0)
    image = image + draw(rng, params.fringe) * (image - blur(image, reach))
    image *= 1 + draw(rng, params.shading) * _draw_shading(rng, shape)
    image += _draw_noise(rng, shape, params)
    inside = _draw_view(rng, shape, params.field_of_view)
    image[~inside] = rng.uniform(-0.3, 0.8)
    contrast = 255 * draw(rng, params.contrast)
    base = rng.uniform(0.15 * contrast, max(0.2 * contrast, 245 - 1.3 * contrast))
    image = np.clip(base + contrast * image, 0, 255)
    return _store(rng, image.astype(np.float32)), inside


def _draw_shading(rng: np.random.Generator, shape_yx: tuple[int, int]) -> FloatArray:
    """Smooth field between about -0.5 and 0.5: a slope and a broad swell."""
    y, x = np.mgrid[-1 : 1 : shape_yx[0] * 1j, -1 : 1 : shape_yx[1] * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = 0.35 * (x * np.cos(angle) + y * np.sin(angle))
    broad = draw_smooth(rng, shape_yx, max(shape_yx) / 5)
    shading: FloatArray = np.clip(slope + 0.2 * broad, -0.8, 0.8).astype(np.float32)
    return shading


def _draw_noise(
    rng: np.random.Generator, shape_yx: tuple[int, int], params: SectionImagingParams
) -> FloatArray:
    """White, correlated and streaky noise, and ring arcs, in units of contrast."""
    noise = draw(rng, params.white_noise) * rng.random() * draw_smooth(rng, shape_yx, 0)
    noise += draw(rng, params.correlated_noise) * draw_smooth(rng, shape_yx, rng.uniform(0.5, 2.0))
    angle = rng.uniform(0, np.pi)
    for number in range(2):
        strength = draw(rng, params.streaks)
        if number == 0 or rng.random() < 0.5:
            noise += strength * draw_streaks(rng, shape_yx, angle, rng.uniform(1.5, 7))
        angle = np.pi - angle if rng.random() < 0.5 else rng.uniform(0, np.pi)
    if rng.random() < 0.3:
        noise += draw(rng, params.rings) * _draw_rings(rng, shape_yx)
    excess = float(noise.std()) / max(params.total_noise, 1e-6)
    return (noise / max(1.0, excess)).astype(np.float32)


def _draw_rings(rng: np.random.Generator, shape_yx: tuple[int, int]) -> FloatArray:
    """Arcs around a random axis, standard deviation about 0.5."""
    centre = rng.uniform(-2, 3, 2) * shape_yx
    dy = np.arange(shape_yx[0], dtype=np.float32)[:, None] - centre[0]
    dx = np.arange(shape_yx[1], dtype=np.float32)[None, :] - centre[1]
    radius = np.sqrt(dy * dy + dx * dx)
    low = int(radius.min())
    profile = draw_smooth(rng, (1, int(radius.max()) - low + 3), rng.uniform(0.6, 2))[0]
    profile *= np.abs(draw_smooth(rng, (1, profile.size), 12)[0])
    rings: FloatArray = 0.6 * profile[(radius - low).astype(np.intp)]
    return rings


def _draw_view(rng: np.random.Generator, shape_yx: tuple[int, int], chance: float) -> BoolArray:
    """Disc of a field of view, wide against the section, that its border may cut."""
    if rng.random() >= chance:
        return np.ones(shape_yx, np.bool_)
    radius = rng.uniform(*_ROUND_VIEW_PX)
    angle = rng.uniform(0, 2 * np.pi)
    half = np.array(shape_yx) / 2
    depth = rng.uniform(-0.2, 0.9) * half
    direction = np.array([np.sin(angle), np.cos(angle)])
    centre = half - direction * (radius - np.abs(depth @ np.abs(direction)))
    dy = np.arange(shape_yx[0], dtype=np.float32)[:, None] - centre[0]
    dx = np.arange(shape_yx[1], dtype=np.float32)[None, :] - centre[1]
    inside: BoolArray = dy * dy + dx * dx <= radius**2
    return inside


def _store(rng: np.random.Generator, image_yx: FloatArray) -> FloatArray:
    """Round to whole grey levels or compress, as a stored slice may have been."""
    kind = rng.random()
    if kind < 0.5:
        return image_yx
    rounded = np.rint(image_yx).astype(np.uint8)
    if kind > 0.85:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 95))]
        _, coded = cv2.imencode(".jpg", rounded, quality)
        rounded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)
    return rounded.astype(np.float32)
