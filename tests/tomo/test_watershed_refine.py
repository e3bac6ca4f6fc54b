"""Which watershed regions are one particle, and the outlines of single particles."""

import numpy as np
import pytest
from instance_cases import draw_balls

from ncm_kedro.params.tomo_segment import RefineParams
from ncm_kedro.tomo.instances.merging import DEBRIS, measure_compactness, merge_basins
from ncm_kedro.tomo.instances.refine import (
    RefineLengths,
    balance_otsu,
    fill_voids,
    flatten_noise,
    refine_particle,
)
from ncm_kedro.tomo.instances.watershed_graph import (
    BasinTable,
    measure_contacts,
    reduce_contacts,
)


def table(peak, inner, contacts, sums=None):
    rows = np.array(contacts, dtype=np.int64).reshape(-1, 4)
    sums = np.zeros((len(peak), 11)) if sums is None else np.array(sums)
    return BasinTable(np.array(peak), np.array(inner), sums, rows[:, :2], rows[:, 2], rows[:, 3])


def merge(made, *, check_shape=False):
    found = merge_basins(
        made,
        seed=128,
        saddle_fraction=0.7,
        neck_fraction=0.5,
        absorb_fraction=0.6,
        check_shape=check_shape,
    )
    return found.tolist()


def draw_ball(radius, centre, scale=(1, 1, 1)):
    """Voxels of a ball, (Z, Y, X); its axes stretched by `scale`."""
    place = np.indices((60, 60, 60)) + 0.5
    far = [(p - c) / (radius * k) for p, c, k in zip(place, centre, scale, strict=True)]
    return np.sum(np.square(far), axis=0) <= 1


def sum_up(solid_zyx, probability=100):
    """Sums of a basin, as they stand in its table."""
    z, y, x = (axis.astype(np.float64) for axis in np.nonzero(solid_zyx))
    products = [z * z, z * y, z * x, y * y, y * x, x * x]
    return [len(z), probability * len(z), *(v.sum() for v in (z, y, x, *products))]


@pytest.mark.parametrize(
    ("saddle", "neck", "joined"),
    [(200, 40, True), (100, 40, False), (140, 40, False), (200, 15, False), (180, 20, True)],
)
def test_a_merge_needs_seed_level_a_high_saddle_and_a_wide_neck(saddle, neck, joined):
    assert merge(table([250, 230], [60, 40], [(0, 1, saddle, neck)])) == [0, 0 if joined else 1]


@pytest.mark.parametrize("scale", [(1, 1, 1), (0.4, 1, 1), (1, 0.6, 1.4)])
def test_compactness_of_known_solids_in_voxels_of_any_shape(scale):
    """An ellipsoid 1, two equal balls that touch sqrt(2/3), a box 6/pi (3/5)^(3/2)."""

    def measure(solid):
        return measure_compactness(np.array(sum_up(solid)))

    ball = draw_ball(14, (30, 30, 30), scale)
    two = draw_ball(10, (30, 20, 30), scale) | draw_ball(10, (30, 20 + 20 * scale[1], 30), scale)
    box = np.zeros((60, 60, 60), bool)
    box[tuple(slice(5, 5 + round(30 * k)) for k in scale)] = True
    assert measure(ball) == pytest.approx(1, abs=0.02)
    assert measure(two) == pytest.approx(np.sqrt(2 / 3), abs=0.02)
    assert measure(box) == pytest.approx(6 / np.pi * (3 / 5) ** 1.5, abs=0.005)


@pytest.mark.parametrize(("radius", "joined"), [(9, False), (14, False), (4, True)])
def test_two_balls_that_touch_stay_two_behind_a_high_saddle(radius, joined):
    """A bump of 2 % of the volume does not make a second particle."""
    parts = [draw_ball(14, (20, 20, 15)), draw_ball(radius, (20, 20, 29 + radius))]
    made = table([250, 240], [60, 40], [(0, 1, 200, 35)], [sum_up(part) for part in parts])
    assert merge(made) == [0, 0]
    assert merge(made, check_shape=True) == [0, 0 if joined else 1]


@pytest.mark.parametrize(
    ("saddle", "neck", "joined"), [(115, 20, True), (90, 20, False), (115, 8, False)]
)
def test_a_cap_that_a_crack_cuts_off_is_joined_again(saddle, neck, joined):
    ball = draw_ball(14, (30, 30, 30))
    cut = np.arange(60) < 36
    parts = [ball & cut, ball & ~cut]
    made = table([250, 200], [60, 20], [(0, 1, saddle, neck)], [sum_up(part) for part in parts])
    assert merge(made) == [0, 1]
    assert merge(made, check_shape=True) == [0, 0 if joined else 1]


def test_fragments_are_joined_one_after_the_other_to_a_whole():
    ball = draw_ball(14, (30, 30, 30))
    places = np.indices(ball.shape)
    upper, left = places[0] < 35, places[1] < 30
    parts = [ball & upper, ball & ~upper & left, ball & ~upper & ~left]
    contacts = [(0, 1, 115, 20), (0, 2, 110, 20), (1, 2, 105, 20)]
    made = table([250, 200, 200], [60, 20, 20], contacts, [sum_up(part) for part in parts])
    assert merge(made, check_shape=True) == [0, 0, 0]


def test_a_tail_without_a_seed_is_not_part_of_a_ball():
    """A rod of 5 x 5 x 25 voxels that touches the ball, and the same voxels within the ball."""
    ball = draw_ball(14, (30, 30, 16))
    rod, core = np.zeros_like(ball), np.zeros_like(ball)
    rod[28:33, 28:33, 30:55], core[28:33, 28:33, 4:29] = True, True
    for shape, tail in ((ball, rod), (ball & ~core, core)):
        made = table([250, 90], [60, 5], [(0, 1, 60, 5)], [sum_up(shape), sum_up(tail)])
        assert merge(made) == [0, 0]
        assert merge(made, check_shape=True) == [0, -1 if tail is rod else 0]


def test_a_peak_without_a_body_is_debris():
    ball = draw_ball(14, (30, 30, 30))
    for peak, probability, owner in ((130, 59, DEBRIS), (130, 61, 0), (250, 61, 0)):
        made = table([peak], [60], [], [sum_up(ball, probability)])
        assert merge(made, check_shape=True) == [owner]


def test_a_basin_without_a_seed_goes_where_it_is_connected_best():
    made = table([250, 90, 250], [60, 5, 60], [(0, 1, 20, 2), (1, 2, 60, 4)])
    assert merge(made) == [0, 1, 1]


def test_a_peak_of_its_own_without_a_seed_is_debris():
    for saddle, owner in ((53, -1), (54, 0)):
        assert merge(table([250, 90], [60, 5], [(0, 1, saddle, 2)])) == [0, owner]


def test_a_basin_that_reaches_no_seed_is_dropped():
    assert merge(table([250, 90, 80], [60, 5, 5], [(1, 2, 70, 4)])) == [0, -1, -1]


def test_contacts_of_merged_basins_count_together():
    """0 and 1 are one; 2 touches 0 with a high saddle and 1 with a wide neck: one as well."""
    made = table([250] * 3, [60] * 3, [(0, 1, 245, 58), (0, 2, 200, 10), (1, 2, 180, 50)])
    assert merge(made) == [0, 0, 0]


def test_numbering_the_basins_anew_changes_nothing():
    rng = np.random.default_rng(2)
    count = 40
    peak, inner = rng.integers(60, 256, count), rng.integers(5, 80, count)
    pairs = np.unique(np.sort(rng.integers(0, count, (120, 2)), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    saddle = rng.permutation(np.arange(len(pairs)) * 2 + 20)  # no ties, which order would decide
    neck = np.minimum(inner[pairs].min(axis=1), rng.integers(1, 80, len(pairs)))
    first = merge(table(peak, inner, np.column_stack([pairs, saddle, neck])))
    order = rng.permutation(count)
    place = np.argsort(order)
    second = merge(
        table(peak[order], inner[order],
              np.column_stack([np.sort(place[pairs], axis=1), saddle, neck]))
    )  # fmt: skip
    for a in range(count):
        for b in range(count):
            same = first[a] == first[b] >= 0
            assert same == (second[place[a]] == second[place[b]] >= 0)


def test_contacts_take_the_lower_voxel_of_a_face_and_the_highest_face():
    labels = np.array([[[1, 2], [1, 2], [0, 2]]], np.uint32)
    prob = np.array([[[90, 200], [150, 120], [0, 255]]], np.uint8)
    found = measure_contacts(labels, prob, prob // 10, (1, 3, 2))
    assert found.tolist() == [[1, 2, 120, 12, 2]]
    assert reduce_contacts([found, found]).tolist() == [[1, 2, 120, 12, 4]]


def test_the_threshold_does_not_depend_on_how_thin_the_surrounding_is():
    inside, outside = np.zeros(256), np.zeros(256)
    inside[150:171], outside[50:71] = 1000, 1
    assert balance_otsu(inside, outside) == balance_otsu(inside, outside * 900)
    assert balance_otsu(inside, outside) == pytest.approx(110.5, abs=1)


def test_no_threshold_without_contrast_or_surrounding():
    inside, outside = np.zeros(256), np.zeros(256)
    inside[100] = 5
    assert np.isnan(balance_otsu(inside, outside))
    outside[120] = 5
    assert np.isnan(balance_otsu(inside, outside))


def test_enclosed_voids_are_filled_and_open_ones_are_not():
    mask = draw_balls((24, 24, 24), [(12, 12, 12)], [9]) > 0
    hollow = mask & (draw_balls(mask.shape, [(12, 12, 12)], [5]) == 0)
    np.testing.assert_array_equal(fill_voids(hollow), mask)
    drilled = hollow.copy()
    drilled[12, 12, 12:] = False
    np.testing.assert_array_equal(fill_voids(drilled), drilled)


def test_a_hollow_particle_that_the_volume_cuts_is_filled():
    ball = draw_balls((30, 60, 60), [(0, 30, 30)], [20])
    void = draw_balls(ball.shape, [(0, 30, 30)], [10]) > 0
    params = RefineParams(smoothing_vx=0)
    filled, crack = refine_particle(
        np.where((ball > 0) & ~void, 180, 60).astype(np.float32), ball, 1, 120.0,
        voxel_size_um=(1, 1, 1),
        reach=RefineLengths.of(params, (1, 1, 1)), params=params,
        at_face=((True, False), (False, False), (False, False)),
    )  # fmt: skip
    assert (filled != (ball > 0)).mean() < 0.002
    np.testing.assert_array_equal(crack, void)


def test_a_neighbour_is_never_taken():
    labels = draw_balls((30, 30, 60), [(15, 15, 18), (15, 15, 41)], [11, 12])
    params = RefineParams()
    bright = np.full(labels.shape, 180, np.float32)
    filled, _ = refine_particle(
        bright, labels, 1, 120.0, voxel_size_um=(1, 1, 1),
        reach=RefineLengths.of(params, (1, 1, 1)),
        params=params,
    )  # fmt: skip
    assert not (filled & (labels == 2)).any()
    assert filled.sum() > (labels == 1).sum()


def test_noise_moves_the_outline_less_and_cracks_stay():
    labels = draw_balls((44, 44, 44), [(22, 22, 22)], [14])
    crack = np.zeros(labels.shape, bool)
    crack[21:23, 12:33, 12:33] = True
    rng = np.random.default_rng(0)
    grey = np.where((labels > 0) & ~crack, 180.0, 80.0) + rng.normal(0, 35, labels.shape)
    wrong, marked = [], []
    for steps in (0.0, 2.0):
        params = RefineParams(smoothing_vx=0.7, outline_smoothing=steps)
        filled, found = refine_particle(
            grey.astype(np.float32), labels, 1, 130.0, voxel_size_um=(1.0, 1.0, 1.0),
            reach=RefineLengths.of(params, (1.0, 1.0, 1.0)), params=params,
        )  # fmt: skip
        wrong.append(int((filled != (labels > 0)).sum()))
        marked.append((found & crack).sum() / crack.sum())
    assert wrong[1] < 0.8 * wrong[0]
    assert marked[1] >= 0.95 * marked[0] > 0.6


def test_grey_values_without_noise_keep_their_edges():
    grey = np.full((12, 12, 12), 1e7, np.float32)
    grey[:, :, 6:] += 100
    flat = flatten_noise(grey, 2.0)
    np.testing.assert_array_equal(flat > 1e7 + 50, grey > 1e7 + 50)
