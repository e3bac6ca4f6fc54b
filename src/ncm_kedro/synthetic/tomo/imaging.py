"""How a phantom volume is imaged: matrix, blur, fringes, noise, rings, field of view.

Grey values are in units of contrast, 0 the matrix and 1 a sound particle, until they are stored.
Every random number belongs to a slice or to a point, so that slabs join without a seam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from ncm_kedro.params.tomo_phantoms import VolumeImagingParams
from ncm_kedro.synthetic.tomo.scene import Scene
from ncm_kedro.synthetic.tomo.section_imaging import draw_smooth, draw_streaks
from ncm_kedro.synthetic.tomo.solids import hash_lattice, render_box, smooth_noise

FloatArray = NDArray[np.float32]

_FRINGE_VX = 2.0
_TRUNCATE = 3.0
_STREAK_ANGLES = (0.35, -0.5)
_STREAK_VX = 4.0
_NOISE_VX = 1.0


def draw_view(shape_yx: tuple[int, int], params: VolumeImagingParams) -> NDArray[np.bool_]:
    """Return the round field of view of a section, (Y, X), True inside."""
    y, x = np.ogrid[: shape_yx[0], : shape_yx[1]]
    distance = np.hypot(y - (shape_yx[0] - 1) / 2, x - (shape_yx[1] - 1) / 2)
    inside: NDArray[np.bool_] = distance <= params.field_of_view * max(shape_yx)
    return inside


def assign_materials(scene: Scene, rendering: Rendering, first: int, voxel_um: float) -> FloatArray:
    """Give a rendered scene its materials.

    Returns
    -------
    (D, Y, X) array
        Grey values in units of contrast.
    """
    tone = np.concatenate([[1.0], scene.solids.tone]).astype(np.float32)
    painted: FloatArray = _paint(
        rendering.cover_zyx,
        rendering.solid_zyx,
        tone[rendering.particle_label_zyx],
        (first, voxel_um, scene.collector_um, scene.separator_um, scene.seed),
    )
    return painted


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _render_matrix(z: float, y: float, x: float, seed: int) -> float:
    """Carbon, binder, pores and crumbs at a point (um)."""
    coarse = smooth_noise(z / 2.2, y / 2.2, x / 2.2, seed)
    fine = smooth_noise(z / 0.7, y / 0.7, x / 0.7, seed + 1)
    value = 0.16 * fine + 0.22 * coarse
    heap = smooth_noise(z / 3.1 + 50, y / 3.1, x / 3.1, seed + 2)
    if heap > 0.26:
        crumb = smooth_noise(z / 1.1, y / 1.1, x / 1.1, seed + 3)
        crumb += 0.5 * smooth_noise(z / 0.5, y / 0.5, x / 0.5, seed + 4)
        value += min(1.0, 4 * (heap - 0.26)) * min(max(0.0, 1.6 * crumb), 0.9)
    return float(value)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _paint(
    cover: FloatArray,
    solid: FloatArray,
    tone: FloatArray,
    place: tuple[int, float, float, float, int],
) -> FloatArray:
    first, voxel, collector, separator, seed = place
    out = np.empty(cover.shape, np.float32)
    for i in range(cover.shape[0]):
        z = (first + i) * voxel
        for j in range(cover.shape[1]):
            y = j * voxel
            for k in range(cover.shape[2]):
                x = k * voxel
                value = 0.0
                share = cover[i, j, k]
                if share < 1 or solid[i, j, k] < 1:
                    wave = 0.6 * smooth_noise(0.0, y / 4, x / 4, seed + 5)
                    if z < collector + wave:
                        value = 0.3 + 0.05 * smooth_noise(z / 0.5, y / 3, x / 3, seed + 6)
                    elif z > separator + wave:
                        value = 0.15 + 0.08 * smooth_noise(z / 0.5, y / 3, x / 3, seed + 6)
                    else:
                        value = _render_matrix(z, y, x, seed)
                if share > 0:
                    grain = 0.1 * smooth_noise(z / 0.9, y / 0.9, x / 0.9, seed + 8)
                    grain += 0.05 * hash_lattice(first + i, j, k, seed + 9)
                    gone = -0.1 if value > 0 else value - 0.1
                    matter = tone[i, j, k] * (1 + grain)
                    inner = matter * solid[i, j, k] + gone * (1 - solid[i, j, k])
                    value = value * (1 - share) + inner * share
                out[i, j, k] = value
    return out


def image_slab(
    seed: int,
    painted_zyx: FloatArray,
    first: int,
    own: slice,
    optics: tuple[VolumeImagingParams, NDArray[np.bool_]],
) -> NDArray[np.uint8]:
    """Image slices.

    Parameters
    ----------
    painted_zyx
        (D, Y, X), slices with a halo.
    optics
        Strengths, and the field of view (Y, X).

    Returns
    -------
    (own, Y, X) array
        Grey values 0-255.
    """
    params, inside = optics
    sharp = _blur(painted_zyx, params.blur_vx)
    image = sharp + params.fringe * (sharp - _blur(sharp, _FRINGE_VX))
    shape = (image.shape[1], image.shape[2])
    image *= 1 + params.shading * _draw_shading(seed, shape)
    image += params.correlated_noise * _draw_correlated(seed, image.shape, first)
    out = image[own]
    for offset in range(len(out)):
        out[offset] += _draw_section_noise(seed, shape, first + own.start + offset, params)
    grey = params.matrix_grey + (params.particle_grey - params.matrix_grey) * out
    grey[:, ~inside] = params.outside_grey
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _blur(image_zyx: FloatArray, sigma_vx: float) -> FloatArray:
    if sigma_vx <= 0:
        return image_zyx
    return np.asarray(gaussian_filter(image_zyx, sigma_vx, truncate=_TRUNCATE), np.float32)


def _draw_shading(seed: int, shape_yx: tuple[int, int]) -> FloatArray:
    """Uneven brightness, the same in every slice, (Y, X) between about -1 and 1."""
    rng = np.random.default_rng([seed, 2])
    return 0.5 * draw_smooth(rng, shape_yx, max(shape_yx) / 4)


def _draw_correlated(seed: int, shape_zyx: tuple[int, ...], first: int) -> FloatArray:
    """Noise blurred in three dimensions, standard deviation 1."""
    shape = (shape_zyx[1], shape_zyx[2])
    noise = np.stack(
        [
            draw_smooth(np.random.default_rng([seed, 3, first + i]), shape, _NOISE_VX)
            for i in range(shape_zyx[0])
        ]
    )
    gain = np.sqrt(2 * np.sqrt(np.pi) * _NOISE_VX)
    along = gaussian_filter1d(noise, _NOISE_VX, axis=0, truncate=_TRUNCATE)
    return np.asarray(gain * along, np.float32)


def _draw_section_noise(
    seed: int, shape_yx: tuple[int, int], number: int, params: VolumeImagingParams
) -> FloatArray:
    """White noise, streaks and rings of one slice."""
    rng = np.random.default_rng([seed, 4, number])
    noise = params.white_noise * rng.standard_normal(shape_yx, dtype=np.float32)
    for angle in _STREAK_ANGLES:
        noise += params.streaks * np.sqrt(0.5) * draw_streaks(rng, shape_yx, angle, _STREAK_VX)
    y, x = np.ogrid[: shape_yx[0], : shape_yx[1]]
    radius = np.hypot(y - (shape_yx[0] - 1) / 2, x - (shape_yx[1] - 1) / 2)
    steady = np.random.default_rng([seed, 5])  # rings change slowly along the axis
    profile = draw_smooth(steady, (1, max(shape_yx) + 2), 0.8)[0]
    profile = profile * np.abs(draw_smooth(steady, (1, profile.size), 8)[0])
    noise += params.rings * profile[radius.astype(np.intp)]
    return np.asarray(noise, np.float32)


Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Rendering:
    """A scene on a grid of voxels, before imaging; arrays are (D, Y, X).

    Attributes
    ----------
    cover_zyx
        float32, fraction of the voxel that particles cover, 0-1.
    solid_zyx
        float32, fraction of that which is solid, 0-1.
    particle_label_zyx
        int32, number of the nearest particle, 0 where none is near.
    labels_zyx, cracks_zyx
        uint32 and uint8, of particles, filled, and 1 in the voids and cracks within them.
    """

    cover_zyx: NDArray[np.float32]
    solid_zyx: NDArray[np.float32]
    particle_label_zyx: NDArray[np.int32]
    labels_zyx: NDArray[np.uint32]
    cracks_zyx: NDArray[np.uint8]


def render_scene(
    scene: Scene,
    origin_um: tuple[float, float, float],
    spacing_um: tuple[float, float, float],
    shape_zyx: Triple,
) -> Rendering:
    """Evaluate a scene on a grid.

    Parameters
    ----------
    spacing_um
        Between voxels. A fraction of a voxel is computed over the smallest of the three.
    shape_zyx
        Voxels along each axis; 1 along one of them gives a section.

    Returns
    -------
    Rendering
        The same for a voxel whatever box it is part of.
    """
    origin, spacing = np.array(origin_um, np.float64), np.array(spacing_um, np.float64)
    solids = scene.solids
    reach = solids.bound_um + 2 * spacing.max()
    last = origin + (np.array(shape_zyx) - 1) * spacing
    near = (solids.centre_um + reach[:, None] >= origin) & (
        solids.centre_um - reach[:, None] <= last
    )
    nearby = np.flatnonzero(near.all(axis=1)).astype(np.int64)
    outline, missing, owner = render_box(solids, nearby, origin, spacing, shape_zyx)
    width = np.float32(spacing.min())
    inside = outline < 0
    return Rendering(
        cover_zyx=np.clip(0.5 - outline / width, 0, 1),
        solid_zyx=np.clip(0.5 + missing / width, 0, 1),
        particle_label_zyx=owner,
        labels_zyx=np.where(inside, owner, 0).astype(np.uint32),
        cracks_zyx=(inside & (missing < 0)).astype(np.uint8),
    )
