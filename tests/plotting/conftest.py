"""A small sample for the figures: balls with voids and cracks, and a pyramid on disk."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from scipy import ndimage

from ncm_kedro.tomo.volumes.volume import Volume

VOXEL_UM = (0.2, 0.1, 0.1)


def pack_balls(shape_zyx=(48, 96, 96), count=60, seed=3, voxel_um=VOXEL_UM):
    """Labels of balls with central voids and plane cracks, and the cracks; grey values."""
    rng = np.random.default_rng(seed)
    extent = np.array(shape_zyx) * voxel_um
    grid = np.stack(
        np.meshgrid(*[(np.arange(n) + 0.5) * s for n, s in zip(shape_zyx, voxel_um, strict=True)],
                    indexing="ij"), axis=-1,
    )  # fmt: skip
    labels = np.zeros(shape_zyx, np.uint32)
    cracks = np.zeros(shape_zyx, np.uint8)
    kept: list[tuple[np.ndarray, float]] = []
    for _ in range(4000):
        centre, radius = rng.uniform(0, 1, 3) * extent, rng.uniform(0.08, 0.17) * extent.min()
        if len(kept) < count and all(
            np.linalg.norm(centre - c) > radius + r - 0.02 for c, r in kept
        ):
            kept.append((centre, radius))
    for number, (centre, radius) in enumerate(kept, start=1):
        arm = grid - centre
        distance = np.linalg.norm(arm, axis=-1)
        inside = (distance < radius) & (labels == 0)
        labels[inside] = number
        plane = rng.normal(size=3)
        sheet = np.abs(arm @ (plane / np.linalg.norm(plane))) < 0.09 * radius
        cracks[inside & (sheet | (distance < 0.25 * radius))] = 1
    grey = 60.0 + 110.0 * (labels > 0) - 90.0 * cracks
    grey = ndimage.gaussian_filter(grey, 0.7) + rng.normal(0, 9, shape_zyx)
    return labels, cracks, np.clip(grey, 0, 255).astype(np.uint8)


def write_volume(folder, name, array, *, voxel_um=VOXEL_UM, extras=None, levels=1, attributes=None):
    """Store an array with a pyramid of picked voxels, and open it."""
    group = zarr.open_group(folder / name, mode="w")
    stored = [group.create_array(str(n), data=array[:: 2**n, :: 2**n, :: 2**n], chunks=(32, 32, 32))
              for n in range(levels)]  # fmt: skip
    more = {
        key: group.create_array(f"labels/{key}", data=value, chunks=(32, 32, 32))
        for key, value in (extras or {}).items()
    }
    return Volume(
        name=name, path=folder / name, array=stored[0], levels=tuple(stored),
        voxel_size_um=voxel_um, extras=more, attributes={"fingerprint": "f1", **(attributes or {})},
    )  # fmt: skip


@pytest.fixture(scope="module")
def packing():
    return pack_balls()


@pytest.fixture(scope="module")
def sample(tmp_path_factory, packing):
    """Image, probability and label volumes of one sample."""
    labels, cracks, grey = packing
    folder = tmp_path_factory.mktemp("sample")
    depth = ndimage.distance_transform_edt(labels > 0)
    probability = (255 * np.clip(depth / 6.0, 0, 1)).astype(np.uint8)
    spread = (255 - probability) // 4
    return (
        write_volume(folder, "image", grey, levels=2),
        write_volume(folder, "probability", probability, extras={"disagreement": spread}, levels=2),
        write_volume(folder, "labels", labels, extras={"cracks": cracks}, levels=2),
    )


@pytest.fixture(scope="session")
def write_sample():
    """What stores an array as a volume."""
    return write_volume
