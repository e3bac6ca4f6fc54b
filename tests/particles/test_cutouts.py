"""Particles cut out: the edge of the view, faces of the volume, sizes, and what is shared."""

import numpy as np
import pytest
import solids
from measured import measure_arrays

VOXEL_UM = 0.1


def view_up_to(shape, x):
    view = np.ones(shape, np.uint8)
    view[:, :, x:] = 0
    return view


def test_surface_is_not_counted_where_the_view_ends():
    """Half a ball, less half a voxel, is seen; the cut through it is no surface."""
    ball = solids.digitise(solids.ball(1.5), offset_vx=(0, 0, 0), margin_vx=8)
    middle = ball.labels.shape[2] // 2
    view = view_up_to(ball.labels.shape, middle)
    seen = measure_arrays(ball.labels, view=view).iloc[0]
    cut = measure_arrays(np.ascontiguousarray(ball.labels[:, :, :middle])).iloc[0]
    assert seen["touches_border"]
    assert cut["touches_border"]
    for row in (seen, cut):
        # lines that leave the view before they cross the surface are not counted: a little is lost
        assert row["surface_outer_um2"] == pytest.approx(2 * np.pi * 1.5 * 1.45, rel=0.035)
        assert row["volume_um3"] == pytest.approx(
            ball.exact.volume / 2 - 0.05 * np.pi * 2.25, rel=0.01
        )
        assert row["contact"] == 0
        assert np.isnan(row["sphericity"])
    assert seen["surface_outer_um2"] == pytest.approx(cut["surface_outer_um2"], rel=0.02)


def test_labels_that_the_view_leaves_out_bring_no_contact_and_no_surface():
    labels = np.zeros((20, 20, 40), np.uint32)
    labels[5:15, 5:15, 10:20], labels[5:15, 5:15, 20:30] = 1, 2
    both = measure_arrays(labels, min_shape_vx=10)
    view = view_up_to(labels.shape, 20)
    alone = measure_arrays(labels, view=view, min_shape_vx=10)
    assert alone.index.tolist() == [1]
    assert both.loc[1, "contact"] > 0.15
    assert alone.loc[1, "contact"] == 0
    assert alone.loc[1, "surface_outer_um2"] < 0.9 * both.loc[1, "surface_outer_um2"]


def test_a_particle_larger_than_what_a_block_shares():
    """Longer than a block and its surroundings: cut out by itself, and measured the same."""
    rod = solids.digitise(solids.capsule(18.0, 0.6), margin_vx=6)
    labels = rod.labels.copy()
    labels[2:6, 2:6, 2:40] = 2  # and a small one beside it that is shared
    tables = [measure_arrays(labels, block=block) for block in (16, 256)]
    np.testing.assert_array_equal(*(t.iloc[:, 1:].to_numpy(float) for t in tables))
    assert tables[0].loc[1, "volume_um3"] == pytest.approx(rod.exact.volume, rel=0.01)
    assert tables[0].loc[1, "surface_outer_um2"] == pytest.approx(rod.exact.outer, rel=0.02)


@pytest.mark.parametrize("preset", ["corrected", "paper"])
def test_tiny_particles_have_their_volume_and_no_damage(preset):
    labels = np.zeros((16, 16, 32), np.uint32)
    for label, n in enumerate([(1, 1, 1), (1, 1, 2), (2, 2, 2), (1, 3, 3)], start=1):
        labels[4 : 4 + n[0], 4 : 4 + n[1], 7 * label - 4 : 7 * label - 4 + n[2]] = label
    table = measure_arrays(labels, preset=preset, min_shape_vx=1)
    np.testing.assert_allclose(table["volume_um3"], np.array([1, 2, 8, 9]) * VOXEL_UM**3)
    assert (table["damage"] == 0).all()
    assert (table["surface_outer_um2"] > 0).all()


def test_large_cutouts_have_damage_from_marked_cracks_alone():
    labels = np.zeros((48, 48, 48), np.uint32)
    labels[10:38, 10:38, 10:38] = 1
    labels[22:26, 20:30, 20:30] = 0  # a void that no map marks
    cracks = np.zeros(labels.shape, np.uint8)
    cracks[14:17, 14:34, 14:34] = 1
    marked = cracks.sum()
    void = 28**3 - (labels > 0).sum()
    whole = measure_arrays(labels, cracks=cracks).iloc[0]
    assert whole["damage"] == pytest.approx((marked + void) / 28**3)
    large = measure_arrays(labels, cracks=cracks, max_cutout_vx=4096).iloc[0]
    assert large["damage"] == pytest.approx(marked / (28**3 - void))
    unknown = measure_arrays(labels, max_cutout_vx=4096).iloc[0]
    assert np.isnan(unknown["damage"])
    assert np.isnan(unknown["surface_inner_um2"])


@pytest.mark.parametrize("at_face", [False, True])
def test_a_crack_that_a_face_of_the_volume_cuts_stays_a_crack(at_face):
    """A slit 0.3 um wide that opens sideways; the volume ends half-way down the particle or not."""
    labels = np.zeros((60, 50, 50), np.uint32)
    labels[10:50, 8:42, 8:42] = 1
    labels[:, 24:27, 22:] = 0
    slit = 40 * 3 * 20
    if at_face:
        labels, slit = np.ascontiguousarray(labels[30:]), slit / 2
    row = measure_arrays(labels, closing_um=0.3).iloc[0]
    whole = (labels > 0).sum() + slit
    assert row["damage"] == pytest.approx(slit / whole, rel=0.05)


def test_voids_that_a_face_of_the_volume_cuts_are_filled():
    labels = np.zeros((30, 40, 40), np.uint32)
    labels[:20, 10:30, 10:30] = 1
    labels[:6, 15:25, 15:25] = 0
    row = measure_arrays(labels, closing_um=0.0).iloc[0]
    assert row["touches_border"]
    assert row["damage"] == pytest.approx(6 * 100 / (20 * 400))


@pytest.mark.parametrize("gap", [2, 4])
def test_background_all_around_a_particle_in_a_small_volume_is_no_void(gap):
    """The cut-out, with its margin, is the full volume here: no side of it is open."""
    labels = np.zeros((40, 40, 40), np.uint32)
    labels[gap:-gap, gap:-gap, gap:-gap] = 1
    row = measure_arrays(labels).iloc[0]
    assert row["volume_um3"] == pytest.approx((40 - 2 * gap) ** 3 * VOXEL_UM**3)
    assert row["damage"] == 0


def test_the_papers_inner_surface_of_a_particle_too_large_to_cut_out_is_null():
    labels, cracks = np.zeros((2, 40, 40, 40), np.uint8)
    labels[8:32, 8:32, 8:32], cracks[18:22, 8:32, 12:28] = 1, 1
    settings = {"preset": "paper", "cracks": cracks}
    assert measure_arrays(labels, **settings).iloc[0]["surface_inner_um2"] > 0
    large = measure_arrays(labels, **settings, max_cutout_vx=4096).iloc[0]
    assert np.isnan(large["surface_inner_um2"])
