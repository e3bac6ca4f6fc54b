"""The solids are what their closed forms say, by means that share nothing with the project."""

import numpy as np
import pytest
import solids
from scipy.spatial.transform import Rotation
from skimage.measure import marching_cubes, mesh_surface_area

SHAPES = {
    "ball": solids.ball(1.0),
    "ellipsoid": solids.ellipsoid(1.6, 1.1, 0.7),
    "box": solids.box(2.0, 1.4, 1.0),
    "capsule": solids.capsule(1.5, 0.6),
    "waves": solids.wavy_ball(1.0, 0.04, 9.0),
}
VOIDS = {
    "hollow": solids.hollow_ball(1.0, 0.5, 0.2),
    "slot": solids.ball_with_slot(1.0, 0.3, -0.2),
    "disc": solids.ball_with_disc(1.0, 0.3, 0.6),
}

# Off every axis of the grid: a face that passes through voxel centres has no volume of its own.
TILTED = Rotation.from_euler("xyz", [20, 35, 50], degrees=True).as_matrix()


def sample_level(shape, step=0.02):
    half = (np.abs(TILTED) @ np.asarray(shape.half_um))[::-1]
    size = 2 * np.ceil(half / step).astype(int) + 7
    points = solids.body_points(size, (step,) * 3, size / 2 * step, TILTED)
    return points, shape.level(points)


def measure_mesh(level, step=0.02):
    vertices, faces, *_ = marching_cubes(level, 0.0, spacing=(step,) * 3)
    return mesh_surface_area(vertices, faces)


@pytest.mark.parametrize("name", SHAPES)
def test_volume_surface_and_moments(name):
    shape = SHAPES[name]
    points, level = sample_level(shape)
    inside = points[level > 0]
    assert len(inside) * 0.02**3 == pytest.approx(shape.exact.volume, rel=0.002)
    # The mesh cuts the edges of a box off.
    rel = 0.01 if name == "box" else 0.004
    assert measure_mesh(level) == pytest.approx(shape.exact.outer, rel=rel)
    moments = np.linalg.eigvalsh(np.cov(inside.T))
    assert np.sqrt(moments[-1] / moments[0]) == pytest.approx(shape.exact.elongation, rel=0.004)


@pytest.mark.parametrize("name", VOIDS)
def test_voids(name):
    shape = VOIDS[name]
    points, level = sample_level(shape)
    void = np.minimum(level, shape.crack(points))
    assert np.count_nonzero(void > 0) * 0.02**3 == pytest.approx(shape.exact.void, rel=0.01)
    around = measure_mesh(void)
    assert around == pytest.approx(shape.exact.walls + shape.exact.opening, rel=0.02)
    damaged = np.minimum(level, -shape.crack(points))
    assert measure_mesh(damaged) - measure_mesh(level) == pytest.approx(
        shape.exact.inner, rel=0.02, abs=0.05
    )


@pytest.mark.parametrize("voxel_um", [solids.CUBE, (0.1, 0.07, 0.07)])
def test_a_turned_solid_keeps_its_volume(voxel_um):
    for turn in solids.random_rotations(4):
        solid = solids.digitise(SHAPES["ellipsoid"], turn=turn, voxel_um=voxel_um)
        volume = solid.labels.sum() * np.prod(voxel_um)
        assert volume == pytest.approx(solid.exact.volume, rel=0.01)
        places = np.argwhere(solid.labels)[:, ::-1] * np.asarray(voxel_um)[::-1]
        long = np.linalg.eigh(np.cov(places.T))[1][:, -1]
        assert abs(long @ solid.exact.axes[0]) == pytest.approx(1, abs=2e-4)
