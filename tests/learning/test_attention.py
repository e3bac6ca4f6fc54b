"""Attribution on boundaries: maps of known attribution, and uninformative maps."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import kstest

from ncm_kedro.learning.explain.maps import (
    blur_to_cells,
    pool_p_value,
    resample_ratio,
    score_boundaries,
    score_other_maps,
    score_plainly,
)
from ncm_kedro.params.sem_explain import AttentionParams

SIDE = 48
PARAMS = AttentionParams(shifts=99, n_bootstrap=400, seed=1)


def ring_mask():
    y, x = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(y - 24, x - 24)
    return (radius > 10) & (radius < 14)


def random_maps(count, seed):
    noise = np.random.default_rng(seed).normal(size=(count, SIDE, SIDE))
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3), mode="wrap")
    return np.exp(5 * smooth).astype(np.float32)


def names(count):
    return [f"area {n}" for n in range(count)]


def test_a_map_of_three_on_the_boundary_and_one_elsewhere_has_the_ratio_three():
    mask = ring_mask()
    maps = np.where(mask, 3.0, 1.0).astype(np.float32)[None]
    scores = score_boundaries(maps, mask[None], ["a"], PARAMS)
    assert scores.ratio[0] == pytest.approx(3.0)
    assert scores.on[0] == pytest.approx(3.0 / (1.0 + 2.0 * mask.mean()))
    assert 0.7 < scores.control[0] < 1.3
    assert scores.p_value[0] == pytest.approx(0.01)
    on, off = score_plainly(maps, mask[None])
    assert on[0] / off[0] == pytest.approx(3.0)


def test_a_map_that_avoids_boundaries_has_a_ratio_below_its_control():
    mask = ring_mask()
    scores = score_boundaries(np.float32(~mask)[None], mask[None], ["a"], PARAMS)
    assert scores.ratio[0] == 0.0
    assert scores.control[0] > 0.8
    assert scores.p_value[0] == 1.0


def test_maps_that_know_nothing_score_one_and_have_uniform_p_values():
    masks = np.repeat(ring_mask()[None], 150, axis=0)
    scores = score_boundaries(random_maps(150, seed=2), masks, names(150), PARAMS)
    assert scores.on.mean() / scores.off.mean() == pytest.approx(1.0, abs=0.05)
    assert kstest(scores.p_value, "uniform").pvalue > 0.01
    assert pool_p_value(scores) > 0.01


def test_empty_maps_and_crops_without_boundary_are_not_defined():
    masks = np.stack([ring_mask(), np.zeros((SIDE, SIDE), bool), ring_mask()])
    maps = np.stack([np.zeros((SIDE, SIDE)), *random_maps(2, seed=3)]).astype(np.float32)
    scores = score_boundaries(maps, masks, names(3), PARAMS)
    for values in (scores.ratio, scores.control, scores.p_value):
        np.testing.assert_array_equal(np.isnan(values), [True, True, False])
    pooled = resample_ratio(scores.on[:2], scores.off[:2], names(2), PARAMS)
    assert pooled == {"value": None, "low": None, "high": None}


def test_crops_of_one_area_share_their_placements_and_others_do_not():
    maps = np.repeat(random_maps(1, seed=4), 3, axis=0)
    masks = np.repeat(ring_mask()[None], 3, axis=0)
    placed = score_boundaries(maps, masks, ["a", "a", "b"], PARAMS).placed_on
    np.testing.assert_array_equal(placed[0], placed[1])
    assert not np.array_equal(placed[0], placed[2])


def test_maps_of_other_areas_are_averaged_by_hand():
    rng = np.random.default_rng(5)
    maps = rng.random((4, 8, 8)).astype(np.float32)
    masks = rng.random((4, 8, 8)) > 0.5
    areas = ["a", "a", "b", "c"]
    on, off = score_other_maps(maps, masks, areas)
    scaled = maps / maps.mean(axis=(1, 2), keepdims=True)
    for row, area in enumerate(areas):
        others = np.mean([m for m, a in zip(scaled, areas, strict=True) if a != area], axis=0)
        assert on[row] == pytest.approx(others[masks[row]].mean(), rel=1e-5)
        assert off[row] == pytest.approx(others[~masks[row]].mean(), rel=1e-5)


def test_a_coarse_map_cannot_reach_the_ratio_of_a_fine_one():
    masks = ring_mask()[None]
    ratios = []
    for cell_px in (1.0, 4.0, 16.0):
        on, off = score_plainly(blur_to_cells(masks, cell_px), masks)
        ratios.append(on[0] / off[0])
    assert ratios[0] > 1000
    assert ratios[0] > ratios[1] > ratios[2] > 0.5


def test_intervals_come_from_areas_not_from_crops():
    rng = np.random.default_rng(6)
    on = np.repeat(rng.normal(1.5, 0.3, 12), 20)
    areas = np.repeat(names(12), 20).tolist()
    by_area = resample_ratio(on, np.ones(240), areas, PARAMS)
    by_crop = resample_ratio(on, np.ones(240), names(240), PARAMS)
    assert by_area["value"] == pytest.approx(on.mean())
    expected = 2 * 2.20 * on[::20].std(ddof=1) / np.sqrt(12)  # Student's t of 11
    assert by_area["high"] - by_area["low"] == pytest.approx(expected, rel=0.25)
    assert by_crop["high"] - by_crop["low"] < 0.4 * expected


@pytest.mark.parametrize(("areas", "has_interval"), [(1, False), (7, False), (8, True)])
def test_few_areas_give_a_value_but_no_interval(areas, has_interval):
    """Crops without a map do not count as areas."""
    on = np.append(np.repeat(np.linspace(1.0, 2.0, areas), 9), np.nan)
    found = resample_ratio(on, np.ones(len(on)), [*np.repeat(names(areas), 9), "empty"], PARAMS)
    assert found["value"] == pytest.approx(np.nanmean(on))
    assert [found[end] is not None for end in ("low", "high")] == [has_interval] * 2
