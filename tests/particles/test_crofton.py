"""Crofton weights: published ones, exact sums, and balls of a few voxels."""

from itertools import product

import numpy as np
import pytest
import solids
from scipy.spatial.transform import Rotation

from ncm_kedro.particles.block_sums import CroftonWeights, list_steps

UNEQUAL = (0.3, 0.1, 0.2)
TURNS = [
    Rotation.identity(),
    Rotation.from_euler("y", 90, degrees=True),
    Rotation.from_euler("z", 90, degrees=True),
]


def test_the_steps_in_cubes_are_half_of_the_26_neighbours():
    steps = list_steps((0.1, 0.1, 0.1))
    both = {tuple(step) for step in np.concatenate([steps, -steps]).tolist()}
    assert both == set(product((-1, 0, 1), repeat=3)) - {(0, 0, 0)}
    assert len(steps) == 13


@pytest.mark.parametrize("voxel_um", [(0.3, 0.1, 0.1), (0.1, 0.52, 0.11), (2.0, 0.1, 0.1)])
def test_steps_are_unlike_and_hold_no_voxel_centre_between(voxel_um):
    steps = list_steps(voxel_um)
    assert (np.gcd.reduce(steps, axis=1) == 1).all()
    assert len({tuple(step) for step in [*steps.tolist(), *(-steps).tolist()]}) == 26
    assert {(0, 0, 1), (0, 1, 0), (1, 0, 0)} <= {tuple(step) for step in steps.tolist()}


def test_cubic_voxels_have_the_published_weights():
    """Shares of the sphere as listed by Lehmann and Legland (2012), for both ends of a line."""
    weights, steps = CroftonWeights.of((1.0, 1.0, 1.0)), list_steps((1.0, 1.0, 1.0))
    lengths = np.sqrt((steps**2).sum(axis=1))
    published = {1: 0.0457778912, 2: 0.0369806279, 3: 0.0351956398}
    shares = [2 * published[round(length**2)] for length in lengths]
    np.testing.assert_allclose(weights.area_um2 * lengths / 2, shares, rtol=1e-6)


@pytest.mark.parametrize("voxel_um", [(0.1, 0.1, 0.1), UNEQUAL, (0.05, 0.3, 0.05)])
def test_crossings_as_a_ball_has_them_on_average_give_its_surface(voxel_um):
    radius = 7.0
    lines_um2 = np.prod(voxel_um) / np.linalg.norm(list_steps(voxel_um) * voxel_um, axis=1)
    crossings = np.stack([2 * np.pi * radius**2 / lines_um2, np.zeros(13)])
    area = CroftonWeights.of(voxel_um).area(crossings)
    np.testing.assert_allclose(area, [4 * np.pi * radius**2, 0])


def test_weights_follow_the_axes_and_the_unit():
    weights = CroftonWeights.of(UNEQUAL)
    turned = CroftonWeights.of(UNEQUAL[::-1])
    steps = [tuple(np.abs(step)) for step in list_steps(UNEQUAL).tolist()]
    mirrored = [tuple(np.abs(step)[::-1]) for step in list_steps(UNEQUAL[::-1]).tolist()]
    for step, area in zip(steps, weights.area_um2, strict=True):
        assert turned.area_um2[mirrored.index(step)] == pytest.approx(area)
    scaled = CroftonWeights.of(tuple(3 * edge for edge in UNEQUAL))
    np.testing.assert_allclose(scaled.area_um2, 9 * weights.area_um2)
    assert miss_ball(scaled) == pytest.approx(9 * miss_ball(weights))


def miss_ball(weights, radius_um=10.0):
    spread = np.full((1, 3), radius_um**2 / 5)
    return weights.missed_area(spread, np.eye(3)[None])[0]


def count_crossings(inside, voxel_um):
    numbers = []
    for step in list_steps(voxel_um):
        here = tuple(
            slice(max(0, -s), n - max(0, s)) for s, n in zip(step, inside.shape, strict=True)
        )
        there = tuple(
            slice(max(0, s), n + min(0, s)) for s, n in zip(step, inside.shape, strict=True)
        )
        numbers.append((inside[here] != inside[there]).sum())
    return np.array(numbers)


@pytest.mark.parametrize("voxel_um", [(0.1, 0.1, 0.1), (0.12, 0.08, 0.1)])
@pytest.mark.parametrize("radius_um", [0.25, 0.5])
def test_small_balls_are_unbiased_with_what_grazing_lines_miss(voxel_um, radius_um):
    rng = np.random.default_rng(0)
    weights = CroftonWeights.of(voxel_um)
    size = [2 * int(radius_um / edge) + 7 for edge in voxel_um]
    places = np.moveaxis(np.indices(size), 0, -1) - np.array(size) // 2
    areas = []
    for _ in range(400):
        offset = rng.uniform(-0.5, 0.5, 3)
        inside = np.linalg.norm((places - offset) * voxel_um, axis=-1) <= radius_um
        areas.append(weights.area(count_crossings(inside, voxel_um)))
    true = 4 * np.pi * radius_um**2
    bare, mended = np.mean(areas) / true, (np.mean(areas) + miss_ball(weights, radius_um)) / true
    assert mended == pytest.approx(1, abs=0.004)
    assert abs(mended - 1) < 0.5 * abs(bare - 1)


def measure_area(inside, voxel_um):
    weights = CroftonWeights.of(voxel_um)
    points = np.argwhere(inside) * voxel_um
    spread, axes = np.linalg.eigh(np.cov(points.T, bias=True))
    missed = weights.missed_area(spread[None], axes.T[None, :, ::-1])[0]
    return weights.area(count_crossings(inside, voxel_um)) + missed


@pytest.mark.parametrize(
    "voxel_um", [(0.5, 0.1, 0.1), (0.5, 0.1, 0.2), (0.3, 0.3, 0.1), (0.1, 0.3, 0.1)]
)
@pytest.mark.parametrize("half_axes", [(3.0, 1.0, 1.0), (2.0, 2.0, 1.0), (2.0, 1.4, 1.0)])
def test_ellipsoids_of_few_voxels_are_unbiased_at_any_turn(voxel_um, half_axes):
    rng = np.random.default_rng(0)
    shape = solids.ellipsoid(*half_axes)
    margin = int(list_steps(voxel_um).max()) + 1
    errors = [
        measure_area(
            solids.digitise(
                shape, turn=turn, offset_vx=solids.random_offset(rng), voxel_um=voxel_um,
                margin_vx=margin,
            ).labels
            > 0,
            voxel_um,
        ) / shape.exact.outer - 1
        for turn in [*TURNS, *Rotation.random(9, rng=rng)]
    ]  # fmt: skip
    assert np.abs(errors).max() <= 0.03
    assert np.mean(errors) == pytest.approx(0, abs=0.006)


def test_flat_and_tiny_bodies_miss_what_balls_do():
    weights = CroftonWeights.of(UNEQUAL)
    flat = weights.missed_area(np.array([[1.0, 1.0, 0.0]]), np.eye(3)[None])
    assert flat == pytest.approx(miss_ball(weights))
    tiny = [miss_ball(weights, radius) for radius in (0.05, 1e-3)]
    true = 4 * np.pi * np.square([0.05, 1e-3])
    assert (np.array(tiny) <= true * 1.001).all()  # no more than there is
    assert tiny[1] == pytest.approx(true[1], rel=0.02)
