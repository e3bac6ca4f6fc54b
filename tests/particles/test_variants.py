"""Outlines moved by one voxel: known shapes, plain NumPy, and any way of cutting."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

from ncm_kedro.particles.variants import CrackThresholds, VariedCracks, VariedLabels
from ncm_kedro.tomo.volumes.blocks import list_blocks


@pytest.fixture(scope="module")
def scene():
    """Touching labels with cracks, grey values and a field of view."""
    rng = np.random.default_rng(4)
    shape = (18, 23, 21)
    field = gaussian_filter(rng.normal(size=shape), 2)
    labels = np.digitize(field, [0.02, 0.05, 0.09]).astype(np.uint32) * 3
    cracks = ((gaussian_filter(rng.normal(size=shape), 1) > 0.15) & (labels > 0)).astype(np.uint8)
    grey = (160 - 80 * cracks + rng.normal(0, 25, shape)).clip(0, 255).astype(np.uint8)
    view = np.zeros(shape, np.uint8)
    view[:, 2:-3, 1:-2] = 1
    labels[view == 0] = 0
    cracks[view == 0] = 0
    return labels, cracks, grey, view


def read_in_blocks(array, edges):
    out = np.zeros(array.shape, array.dtype)
    for block in list_blocks(array.shape, edges):
        out[block.region] = array[block.region]
    return out


def make_thresholds(labels=(3, 6, 9), threshold=(120.0, 110.0, 130.0), shift=(20.0, 10.0, 15.0)):
    return CrackThresholds(np.array(labels), np.array(threshold), np.array(shift))


def make_cube(dtype=np.uint16):
    labels = np.zeros((9, 9, 9), dtype)
    labels[2:7, 2:7, 2:7] = 5
    return labels


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_a_cube(dtype):
    tighter = VariedLabels(make_cube(dtype), "tighter")
    wider = VariedLabels(make_cube(dtype), "wider")
    assert tighter.dtype == dtype
    assert tighter.shape == (9, 9, 9)
    assert (tighter[:] == 5).sum() == 27
    assert (wider[...] == 5).sum() == 125 + 6 * 25


def test_as_morphology(scene):
    labels, *_ = scene
    tighter, wider = (VariedLabels(labels, change)[:] for change in ("tighter", "wider"))
    for label in (3, 6, 9):
        eroded = binary_erosion(labels == label, border_value=1)
        np.testing.assert_array_equal(tighter == label, eroded)
    np.testing.assert_array_equal(wider > 0, binary_dilation(labels > 0))
    np.testing.assert_array_equal(wider[labels > 0], labels[labels > 0])


def test_the_smallest_label_wins():
    labels = np.zeros((1, 1, 3), np.uint32)
    labels[0, 0] = [8, 0, 2]
    np.testing.assert_array_equal(VariedLabels(labels, "wider")[:][0, 0], [8, 2, 2])


def test_two_that_touch_both_recede():
    labels = np.zeros((1, 1, 8), np.uint32)
    labels[0, 0] = [1, 1, 1, 1, 2, 2, 2, 2]
    np.testing.assert_array_equal(
        VariedLabels(labels, "tighter")[:][0, 0], [1, 1, 1, 0, 0, 2, 2, 2]
    )


def test_nothing_moves_at_the_edge_of_the_view(scene):
    labels, _, _, view = scene
    wider = VariedLabels(labels, "wider", view)[:]
    assert not wider[view == 0].any()
    tighter = VariedLabels(labels, "tighter", view)[:]
    for label in (3, 6, 9):
        eroded = binary_erosion((labels == label) | (view == 0), border_value=1) & (view > 0)
        np.testing.assert_array_equal(tighter == label, eroded)


@pytest.mark.parametrize("edges", [(1, 7, 4), (18, 23, 1)])
@pytest.mark.parametrize("change", ["tighter", "wider"])
def test_labels_however_they_are_cut(scene, change, edges):
    labels, _, _, view = scene
    varied = VariedLabels(labels, change, view)
    np.testing.assert_array_equal(read_in_blocks(varied, edges), varied[:])


@pytest.mark.parametrize("edges", [(1, 7, 4), (18, 23, 1)])
@pytest.mark.parametrize("change", ["as_marked", "more_solid", "less_solid"])
def test_cracks_however_they_are_cut(scene, change, edges):
    labels, cracks, grey, _ = scene
    varied = VariedCracks(cracks, labels, change, grey, make_thresholds())
    np.testing.assert_array_equal(read_in_blocks(varied, edges), varied[:])


@pytest.mark.parametrize("change", ["more_solid", "less_solid"])
def test_cracks_as_plain_numpy(scene, change):
    labels, cracks, grey, _ = scene
    thresholds = make_thresholds()
    expected = cracks.copy()
    for label, t, shift in zip(
        thresholds.label, thresholds.threshold, thresholds.shift, strict=True
    ):
        crack = (labels == label) & (cracks > 0)
        solid = (labels == label) & (cracks == 0)
        if change == "more_solid":
            expected[crack & binary_dilation(solid) & (grey > t - shift)] = 0
        else:
            expected[solid & binary_dilation(crack) & (grey < t + shift)] = 1
    found = VariedCracks(cracks, labels, change, grey, thresholds)[:]
    assert (expected != cracks).sum() > 20
    np.testing.assert_array_equal(found, expected)


def test_a_slit_closes_and_opens():
    labels = np.full((1, 1, 9), 7, np.uint32)
    cracks = np.zeros((1, 1, 9), np.uint8)
    cracks[0, 0, 3:6] = 255
    grey = np.array([[[200, 200, 125, 115, 50, 95, 140, 200, 90]]], np.float32)
    thresholds = CrackThresholds(np.array([7]), np.array([120.0]), np.array([10.0]))
    more = VariedCracks(cracks, labels, "more_solid", grey, thresholds)[:]
    less = VariedCracks(cracks, labels, "less_solid", grey, thresholds)[:]
    np.testing.assert_array_equal(more[0, 0], [0, 0, 0, 0, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(less[0, 0], [0, 0, 1, 1, 1, 1, 0, 0, 0])


def test_labels_without_a_threshold_keep_their_cracks(scene):
    labels, cracks, grey, _ = scene
    thresholds = make_thresholds((3, 6, 10), (np.nan, 110.0, 255.0), (1.0, 10.0, 1.0))
    for change in ("more_solid", "less_solid"):
        found = VariedCracks(cracks, labels, change, grey, thresholds)[:]
        for label in (3, 9):
            np.testing.assert_array_equal(found[labels == label], cracks[labels == label])


def test_what_wider_labels_add_is_solid(scene):
    labels, _, _, view = scene
    everywhere = np.ones(labels.shape, np.uint8)
    wider = VariedLabels(labels, "wider", view)[:]
    cracks = VariedCracks(everywhere, labels)[:]
    added = (wider > 0) & (labels == 0)
    assert added.any()
    assert not cracks[added].any()
    assert cracks[labels > 0].all()


def test_zarr_pickle_and_threads(scene, tmp_path):
    labels, cracks, grey, view = scene
    stored = {}
    for name, values in (("labels", labels), ("cracks", cracks), ("grey", grey), ("view", view)):
        stored[name] = zarr.create_array(str(tmp_path / name), data=values, chunks=(8, 8, 8))
    thresholds = make_thresholds()
    pairs = [
        (
            VariedLabels(stored["labels"], "wider", stored["view"]),
            VariedLabels(labels, "wider", view)[:],
        ),
        (
            VariedCracks(
                stored["cracks"], stored["labels"], "less_solid", stored["grey"], thresholds
            ),
            VariedCracks(cracks, labels, "less_solid", grey, thresholds)[:],
        ),
    ]
    for varied, expected in pairs:
        moved = pickle.loads(pickle.dumps(varied))  # noqa: S301
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda z, view=moved: view[z : z + 3, 1:20, :], range(0, 18, 3)))
        np.testing.assert_array_equal(np.concatenate(found), expected[:, 1:20])


def test_what_is_no_cut_is_refused():
    varied = VariedLabels(make_cube(), "wider")
    for region in ((slice(0, 9, 2), slice(None), slice(None)), 3, (slice(None),) * 4):
        with pytest.raises(IndexError, match="cut by slices"):
            varied[region]
    assert varied[4:4].shape == (0, 9, 9)
    np.testing.assert_array_equal(varied[-3:, :2], varied[:][-3:, :2])
