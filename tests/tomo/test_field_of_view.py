"""Which voxels count as outside the field of view."""

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from ncm_kedro.params.tomo_segment import TomoVolumeParams
from ncm_kedro.tomo.volumes.blocks import list_blocks
from ncm_kedro.tomo.volumes.field_of_view import HALO_YX_VX, find_outside, mark_inside, reduce_cells

SHAPE = (12, 200, 216)
PARAMS = TomoVolumeParams()


def draw_material(kind="uint8", level=120.0, spread=12.0, seed=0):
    values = np.random.default_rng(seed).normal(level, spread, SHAPE)
    return values.clip(0, 255).astype(kind) if kind == "uint8" else values.astype(kind)


def draw_circle(radius=112.0):
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    return np.broadcast_to(np.hypot(y - SHAPE[1] / 2, x - SHAPE[2] / 2) < radius, SHAPE)


def find_inside(volume, edge=64):
    outside = find_outside(*reduce_cells(volume), volume.dtype, PARAMS)
    inside = np.ones(volume.shape, np.uint8)
    for block in list_blocks(volume.shape, (edge, edge, edge)):
        outer = block.grow((0, HALO_YX_VX, HALO_YX_VX), volume.shape)
        inside[block.region] = mark_inside(volume[outer.region], outer, block, outside)
    return inside > 0


def measure_overlap(found, truth):
    return (found & truth).sum() / (found | truth).sum()


@pytest.mark.parametrize(("grey", "noise"), [(0, 0), (120, 2), (255, 2)])
def test_finds_a_circle(grey, noise):
    circle = draw_circle()
    wavering = grey + np.random.default_rng(1).integers(-noise, noise + 1, SHAPE)
    volume = np.where(circle, draw_material(), wavering.clip(0, 255).astype(np.uint8))
    assert measure_overlap(find_inside(volume), circle) > 0.99


@pytest.mark.parametrize("kind", ["float32", "int16"])
def test_finds_a_circle_in_other_types(kind):
    circle = draw_circle()
    volume = np.where(circle, draw_material("float32") * 100, 7000).astype(kind)
    assert measure_overlap(find_inside(volume), circle) > 0.99


def test_a_different_grey_in_each_section():
    circle = draw_circle()
    grey = np.arange(SHAPE[0], dtype=np.uint8)[:, None, None] * 9
    volume = np.where(circle, draw_material(), np.broadcast_to(grey, SHAPE))
    assert measure_overlap(find_inside(volume), circle) > 0.99


def test_one_cut_corner():
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    truth = np.broadcast_to(y + x > 80, SHAPE)
    found = find_inside(np.where(truth, draw_material(), 99).astype(np.uint8))
    assert measure_overlap(~found, ~truth) > 0.95


def test_without_an_outside_everything_is_inside():
    assert find_inside(draw_material()).all()


@pytest.mark.parametrize("grey", [0, 255])
def test_a_saturated_body_in_the_corner_is_inside(grey):
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    volume = draw_material()
    volume[:, np.hypot(y, x) < 70] = grey
    assert find_inside(volume).all()


def test_saturated_bodies_stay_inside_beside_a_true_outside():
    circle = draw_circle()
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    body = np.hypot(y - 100, x - 40) < 30
    volume = np.where(circle, draw_material(), 255).astype(np.uint8)
    volume[:, body] = 255
    assert find_inside(volume)[:, body].all()
    assert measure_overlap(find_inside(volume), circle) > 0.99


def test_a_segmented_volume_has_no_outside():
    noise = np.random.default_rng(3).normal(size=SHAPE)
    phases = (ndimage.gaussian_filter(noise, 10, mode="wrap") > 0).astype(np.uint8) * 2
    assert find_inside(phases).all()


def test_does_not_depend_on_the_blocks():
    volume = np.where(draw_circle(), draw_material(), 99).astype(np.uint8)
    whole = find_inside(volume, 512)
    for edge in (16, 48):
        np.testing.assert_array_equal(find_inside(volume, edge), whole)


@pytest.mark.real
def test_a_real_section(real_tomograms_folder):
    section = tifffile.imread(real_tomograms_folder / "example_xy.tif")
    bodies, _ = ndimage.label(section == section[0, 0])
    sizes = np.bincount(bodies.ravel())
    truth = ~np.isin(bodies, np.flatnonzero(sizes > 500)[1:])
    found = find_inside(np.repeat(section[None], 3, axis=0), 256)[1]
    assert measure_overlap(found, truth) > 0.99
    assert found[truth].mean() > 0.999


@pytest.mark.real
def test_a_real_map_of_phases_has_no_outside(real_tomograms_folder):
    phases = tifffile.imread(real_tomograms_folder / "nmc_phases_real_ct.tif", key=range(60))
    assert find_inside(phases, 128).all()
