"""Rendering of a phantom: labels, cracks and grey values, slab by slab."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.params.tomo_phantoms import TomoPhantomParams
from ncm_kedro.synthetic.tomo.imaging import assign_materials, draw_view, image_slab
from ncm_kedro.synthetic.tomo.noise import render_scene
from ncm_kedro.synthetic.tomo.scene import Scene, build_scene

HALO_VX = 12
"""Slices beyond a slab that imaging looks at."""


@dataclass(frozen=True)
class Slab:
    """Finished slices of a phantom.

    Attributes
    ----------
    start
        First slice, along z.
    grey_zyx
        (D, Y, X) uint8, the tomogram.
    labels_zyx
        (D, Y, X) uint32, 0 background, else the particle's number; filled, cracks included.
    cracks_zyx
        (D, Y, X) uint8, 1 in voids and cracks, which lie within labels.
    """

    start: int
    grey_zyx: NDArray[np.uint8]
    labels_zyx: NDArray[np.uint32]
    cracks_zyx: NDArray[np.uint8]


@dataclass
class ParticleCount:
    """What has been counted of each particle so far, (N + 1,) each; entry 0 is background."""

    voxels: NDArray[np.int64]
    crack_voxels: NDArray[np.int64]
    touches_border: NDArray[np.bool_]


def make_scene(name: str, params: TomoPhantomParams) -> Scene:
    """Build the scene of a sample; it depends on the sample's name, settings and the seed."""
    rng = np.random.default_rng([params.seed, zlib.crc32(name.encode())])
    return build_scene(rng, params.samples[name], params)


def iter_slabs(
    scene: Scene, params: TomoPhantomParams, count: ParticleCount | None = None
) -> Iterator[Slab]:
    """Render a phantom from low z to high z, a slab at a time.

    Parameters
    ----------
    scene
        Particles.
    params
        Shape, voxel size, imaging; the result does not depend on ``slab_vx``.
    count
        Filled on the way, for :func:`tabulate_truth`.

    Yields
    ------
    Slab
        ``slab_vx`` slices, the last one may be thinner.
    """
    depth, height, width = params.shape_zyx
    inside = draw_view((height, width), params.imaging)
    size = params.voxel_size_um
    for start in range(0, depth, params.slab_vx):
        stop = min(start + params.slab_vx, depth)
        low, high = max(0, start - HALO_VX), min(depth, stop + HALO_VX)
        rendering = render_scene(
            scene, (low * size, 0.0, 0.0), (size, size, size), (high - low, height, width)
        )
        painted = assign_materials(scene, rendering, low, size)
        own = slice(start - low, stop - low)
        grey = image_slab(scene.seed, painted, low, own, (params.imaging, inside))
        labels = rendering.labels_zyx[own] * inside
        cracks = rendering.cracks_zyx[own] * inside
        slab = Slab(start, grey, labels.astype(np.uint32), cracks.astype(np.uint8))
        if count is not None:
            _count_particles(count, slab, inside, depth)
        yield slab


def start_count(scene: Scene) -> ParticleCount:
    """Return counts of zero for every particle of a scene."""
    size = scene.diameter_um.size + 1
    return ParticleCount(np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size, bool))


def tabulate_truth(
    name: str, scene: Scene, count: ParticleCount, params: TomoPhantomParams
) -> pd.DataFrame:
    """Make the table of what is known of each particle.

    Parameters
    ----------
    name
        The sample.
    scene
        Particles.
    count
        From a complete run of :func:`iter_slabs`.
    params
        Seed and number of noise columns.

    Returns
    -------
    DataFrame
        A row per particle with at least one voxel: ``sample, particle_id`` (the label),
        ``x_um, y_um, z_um`` of the centre, ``diameter_um, elongation, contact_neighbours,
        depth_um, simulated_damage, damage`` (crack over filled voxels), ``voxel_count,
        crack_voxels, touches_border, noise_1...``.
    """
    number = np.flatnonzero(count.voxels[1:]) + 1
    index = number - 1
    voxels, cracks = count.voxels[number], count.crack_voxels[number]
    centre = scene.solids.centre_um[index]
    table = pd.DataFrame(
        {
            "sample": name,
            "particle_id": number.astype(np.int64),
            "x_um": centre[:, 2],
            "y_um": centre[:, 1],
            "z_um": centre[:, 0],
            "diameter_um": scene.diameter_um[index],
            "elongation": scene.elongation[index],
            "contact_neighbours": scene.contact_neighbours[index].astype(np.int64),
            "depth_um": scene.depth_um[index],
            "simulated_damage": scene.simulated_damage[index],
            "damage": cracks / voxels,
            "voxel_count": voxels,
            "crack_voxels": cracks,
            "touches_border": count.touches_border[number],
        }
    )
    rng = np.random.default_rng([params.seed, scene.seed, 1])
    for column in range(1, params.law.noise_columns + 1):
        table[f"noise_{column}"] = rng.standard_normal(scene.diameter_um.size)[index]
    return table


def _count_particles(
    count: ParticleCount, slab: Slab, inside_yx: NDArray[np.bool_], depth: int
) -> None:
    size = count.voxels.size
    labels = slab.labels_zyx
    count.voxels += np.bincount(labels.ravel(), minlength=size)
    count.crack_voxels += np.bincount(labels[slab.cracks_zyx > 0], minlength=size)
    edge = np.zeros_like(inside_yx)
    edge[[0, -1]] = True
    edge[:, [0, -1]] = True
    edge[1:] |= ~inside_yx[:-1]
    edge[:-1] |= ~inside_yx[1:]
    edge[:, 1:] |= ~inside_yx[:, :-1]
    edge[:, :-1] |= ~inside_yx[:, 1:]
    count.touches_border[np.unique(labels[:, edge])] = True
    if slab.start == 0:
        count.touches_border[np.unique(labels[0])] = True
    if slab.start + len(labels) == depth:
        count.touches_border[np.unique(labels[-1])] = True
