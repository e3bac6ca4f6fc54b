"""Flats in time, zingers, patterns of the detector, shifts and their drift."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ncm_kedro.errors import TomogramError
from ncm_kedro.holo.registration import fit_drift, measure_shifts, rescale_image
from ncm_kedro.holo.scan import DistanceScan, describe_cone
from ncm_kedro.holo.survey import (
    group_flats,
    measure_pattern,
    normalise_frames,
    remove_zingers,
)
from ncm_kedro.params.holo import HoloPhantomParams, RetrievalParams
from ncm_kedro.synthetic.holo import draw_shifts, iter_frames, make_flats

SHAPE = (24, 40)


def make_scan(frames, keys):
    return DistanceScan(
        source="memory",
        read=lambda numbers: frames[numbers],
        frames=np.flatnonzero(keys == 0),
        flat_frames=np.flatnonzero(keys == 1),
        dark_frames=np.flatnonzero(keys == 2),
    )


def test_a_beam_that_fades_is_followed():
    rng = np.random.default_rng(0)
    beam = 1000 * (1 + 0.3 * gaussian_filter(rng.standard_normal(SHAPE), 3))
    keys = np.array([2, 2, 1, 1, *[0] * 10, 1, 1])
    time = np.clip(np.arange(len(keys)) - 4, 0, 10) / 10
    frames = (
        50 + (1 - 0.4 * time[:, None, None]) * beam * np.where(keys == 0, 0.7, 1)[:, None, None]
    )
    frames[keys == 2] = 50
    dark, flats, places = group_flats(make_scan(frames, keys))
    assert places.tolist() == [0, 10]
    found = normalise_frames(
        frames[keys == 0], np.arange(10, dtype=np.float32), dark, flats, places
    )
    np.testing.assert_allclose(found, 0.7, rtol=1e-4)


def test_counts_without_flats_are_refused_and_intensities_are_not():
    keys = np.array([2, 2, 0, 0, 0])
    frames = np.full((5, *SHAPE), 100.0)
    frames[keys == 0] = 734
    with pytest.raises(TomogramError, match="734"):
        group_flats(make_scan(frames, keys))
    frames[keys == 0] = 0.8
    dark, flats, places = group_flats(make_scan(frames, keys))
    found = normalise_frames(frames[keys == 0], np.arange(3), dark, flats, places)
    np.testing.assert_allclose(found, 0.8, rtol=1e-6)


def test_flats_of_files_of_their_own_count_at_their_place():
    one = DistanceScan(
        source="memory",
        read=lambda numbers: np.full((len(numbers), *SHAPE), 50.0),
        frames=np.arange(11),
        flat_frames=np.arange(2),
        dark_frames=np.arange(0),
        read_flats=lambda numbers: 100.0 * (1 + numbers[:, None, None]) * np.ones(SHAPE),
        flat_places=np.array([0, 10]),
    )
    found = normalise_frames(one.read(one.frames), np.arange(11), *group_flats(one))
    np.testing.assert_allclose(found[:, 0, 0], 50 / (100 + 10 * np.arange(11)), rtol=1e-5)


def test_a_pixel_without_beam_is_filled_from_its_surroundings():
    frames = np.full((1, *SHAPE), 90.0)
    flats = np.full((1, *SHAPE), 100.0, np.float32)
    flats[0, 5, 7] = 0
    image = normalise_frames(frames, np.zeros(1, np.float32), np.zeros(SHAPE), flats, np.zeros(1))
    assert np.isnan(image[0, 5, 7])
    np.testing.assert_allclose(remove_zingers(image[0], 0.5), 0.9, rtol=1e-5)


def test_zingers_go_and_the_noise_stays():
    rng = np.random.default_rng(1)
    clean = rng.normal(1, 0.03, SHAPE).astype(np.float32)
    hit = clean.copy()
    places = rng.integers(2, 22, (2, 12))
    hit[places[0], places[1]] += 4
    found = remove_zingers(hit, 0.5)
    assert np.abs(found - 1).max() < 0.2
    untouched = np.ones(SHAPE, bool)
    untouched[places[0], places[1]] = False
    np.testing.assert_array_equal(found[untouched], clean[untouched])


def test_stripes_are_found_and_shadows_and_fringes_are_not():
    x = np.arange(120)
    pattern = np.zeros(120)
    stripes = [20, 61, 62, 100]
    pattern[stripes] = [0.03, -0.04, -0.04, 0.02]
    images = []
    for fringe_px in (3, 5, 7, 9):  # of a round sample: they stand still, too
        shadow = np.where(np.abs(x - 60) < 30, -0.5, 0)
        fringes = 0.04 * np.sinc((np.abs(x - 60) - 30) / fringe_px)
        images.append(np.tile(shadow + fringes + pattern, (5, 1)))
    found = measure_pattern(np.array(images, np.float32))
    np.testing.assert_allclose(found[0, stripes], pattern[stripes], atol=0.012)
    others = np.setdiff1d(x, stripes)
    assert np.sqrt(np.mean(found[0, others] ** 2)) < 0.3 * 0.04


def test_shifts_between_distances_are_found_within_a_tenth_of_a_pixel():
    params = HoloPhantomParams(
        size_px=192, detector_pixel_um=6.0, angles=8, diameter_um=(4, 9), defects=0.0, seed=5
    )
    geometry = describe_cone(17.0, params.focus_sample_mm, 1217.0, 6.0)
    known = draw_shifts(params)
    beam = make_flats(params, 0, 0).mean() - 100
    errors = []
    for number, (_, frames) in enumerate(iter_frames(params)):
        if number % 2:
            continue
        images = np.stack(
            [
                rescale_image((frame - 100).astype(np.float32) / beam, geometry, k, (0, 0))
                for k, frame in enumerate(frames)
            ]
        )
        found = measure_shifts(images, geometry, RetrievalParams())
        errors.append(found - known[number])
    assert np.abs(known).max() > 1
    assert np.sqrt(np.mean(np.square(errors), axis=(0, 2))).max() <= 0.1


def test_a_drift_is_followed_and_an_outlier_is_not():
    places = np.linspace(0, 499, 20)
    time = np.arange(500) / 499
    known = np.stack([1 + 2 * time - time**2, -0.5 * time], axis=1)[:, None]
    shifts = known[places.astype(int)].copy()
    shifts[7] += 15
    np.testing.assert_allclose(fit_drift(places, shifts, 500), known, atol=0.02)
    alone = fit_drift(places[:1], shifts[:1], 500)
    np.testing.assert_allclose(alone, np.broadcast_to(shifts[0], (500, 1, 2)))


def test_an_image_is_brought_to_the_finest_pixels():
    geometry = describe_cone(17.0, [40.0, 60.0], 1217.0, 3.0)
    y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SHAPE), indexing="ij")
    fine = np.exp(-((y - 2) ** 2 + (x + 3) ** 2) / 18)
    coarse = np.exp(-((1.5 * y - 2 - 0.7) ** 2 + (1.5 * x + 3 + 0.4) ** 2) / 18)
    found = rescale_image(coarse.astype(np.float32), geometry, 1, (0.7, -0.4))
    np.testing.assert_allclose(found, fine, atol=0.01)
    assert pytest.approx(1.5) == geometry.pixel_um[1] / geometry.voxel_um
