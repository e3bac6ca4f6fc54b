"""Roughness: the scatter of voxels below planes, and what is left once it is taken off."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from ncm_kedro.particles.axes import find_voxel_scatter, measure_roughness

VOXELS = [(0.1, 0.1, 0.1), (0.2, 0.1, 0.07)]


def find_depths(normal, offset_um, voxel_um, size=24):
    """Depths below a plane of the voxels with a face towards its other side."""
    places = (np.moveaxis(np.indices((size,) * 3), 0, -1) - size / 2) * voxel_um
    depth = offset_um - places @ normal
    inside = depth >= 0
    rim = inside & ~ndimage.binary_erosion(inside, border_value=1)
    return depth[rim]


@pytest.mark.parametrize("voxel_um", VOXELS)
def test_scatter_is_that_of_planes_of_any_direction(voxel_um):
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(150, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    # a sphere around the middle sees the same area of each plane
    found = [find_depths(n, rng.uniform(-0.1, 0.1), voxel_um) for n in normals]
    weight = np.concatenate([np.full(len(d), area(n, voxel_um) / len(d))
                             for n, d in zip(normals, found, strict=True)])  # fmt: skip
    depths = np.concatenate(found)
    mean = np.average(depths, weights=weight)
    variance = np.average((depths - mean) ** 2, weights=weight)
    assert find_voxel_scatter(voxel_um) == pytest.approx(variance, rel=0.08)


def area(normal, voxel_um):
    """Surface voxels per area of a plane, without unit."""
    return np.abs(normal * voxel_um).max() / np.prod(voxel_um)


def test_scatter_of_cubes_goes_with_the_square_of_their_edge():
    one = find_voxel_scatter((1.0, 1.0, 1.0))
    assert find_voxel_scatter((0.2, 0.2, 0.2)) == pytest.approx(0.04 * one)
    # along an axis voxels lie evenly between 0 and 1 deep: 1 / 12; tilted planes have less
    assert 1 / 20 < one < 1 / 12


def tell_heights(*heights_um):
    return pd.DataFrame(
        {
            f"{name}_{sums}": [value(np.asarray(h)) for h in heights_um]
            for name in ("outer", "inner")
            for sums, value in {
                "n": len,
                "sum": lambda h: h.sum(),
                "sum2": lambda h: (h**2).sum(),
            }.items()
        }
    )


def test_roughness_is_the_standard_deviation_beyond_the_scatter_of_voxels():
    voxel_um = (0.1, 0.1, 0.1)
    heights = np.random.default_rng(1).normal(5.0, 0.3, 4000)
    for found in measure_roughness(tell_heights(heights), voxel_um):
        expected = np.sqrt(heights.var() - find_voxel_scatter(voxel_um))
        assert found[0] == pytest.approx(expected, rel=1e-9)


def test_smooth_surfaces_have_no_roughness_and_few_voxels_have_none_at_all():
    smooth, few, enough = np.full(50, 0.2), np.arange(19.0), np.arange(20.0)
    for found in measure_roughness(tell_heights(smooth, few, enough), (0.1, 0.1, 0.1)):
        assert found[0] == 0
        assert np.isnan(found[1])
        assert found[2] > 5
