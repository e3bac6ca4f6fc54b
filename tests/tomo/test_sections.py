"""Single sections: rotations, voting, choosing the scale, outlines drawn to the grey edge."""

import cv2
import numpy as np
import pytest
from detector_cases import draw_particles
from skimage.draw import disk, polygon
from stardist.matching import matching

from ncm_kedro.errors import SettingsError
from ncm_kedro.params.tomo_segment import SectionSegmentParams
from ncm_kedro.tomo.detector.candidates import (
    Candidates,
    count_votes,
    predict_candidates,
    predict_with_tta,
    suppress_overlaps,
    tidy_labels,
    vote_outlines,
)
from ncm_kedro.tomo.detector.detector import SectionPrediction, load_detector
from ncm_kedro.tomo.detector.sections import refine_outlines, segment_section
from ncm_kedro.tomo.training.crops import compute_targets


class PerfectDetector:
    """Reads the ground truth off a section whose grey values are its labels."""

    grid, n_rays, particle_px, prob_threshold, nms_threshold = 2, 32, 48.0, 0.5, 0.3

    def predict(self, sections_nyx):
        found = [compute_targets(np.rint(s).astype(int), 32, 2) for s in sections_nyx]
        return SectionPrediction(
            np.stack([f.prob_yx for f in found]),
            np.stack([f.dist_yxk for f in found]).transpose(0, 3, 1, 2),
        )


@pytest.fixture(scope="module")
def starter():
    return load_detector(threads=1)


@pytest.mark.parametrize("shape", [(90, 121), (64, 64)])
def test_turning_gives_the_same_for_a_network_that_does_not_care(shape):
    _, labels = draw_particles(shape, radii=(9, 13))
    section = labels.astype(np.float32)
    plain = PerfectDetector().predict(section[None])
    turned = predict_with_tta(section, PerfectDetector())
    inner = (slice(None), slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(turned.prob_nyx[inner], plain.prob_nyx[inner], atol=1e-6)
    np.testing.assert_allclose(
        turned.dist_nkyx[:, :, 2:-2, 2:-2], plain.dist_nkyx[:, :, 2:-2, 2:-2], atol=1.01
    )
    assert np.abs(turned.dist_nkyx - plain.dist_nkyx).mean() < 0.05


def test_perfect_predictions_give_the_outlines_back():
    _, labels = draw_particles((160, 200), radii=(12, 18))
    candidates = predict_candidates(
        labels.astype(np.float32), PerfectDetector(), scale=1, threshold=0.4, turns=False
    )
    winners = suppress_overlaps(candidates, max_overlap=0.3)
    found = vote_outlines(
        candidates, winners, labels.shape, weights_n=candidates.prob_n, agreement=0.5, central=0.6
    )
    assert matching(labels, found, thresh=0.9).accuracy == 1


def test_votes_equal_a_polygon_of_another_library():
    rng = np.random.default_rng(0)
    points = np.array([[20.3, 25.7]], np.float32)
    dist = rng.uniform(8, 14, (1, 32)).astype(np.float32)
    corners = Candidates(points, dist, np.ones(1, np.float32)).polygons_nkc[0]
    expected = np.zeros((40, 50), np.float32)
    expected[polygon(corners[:, 0], corners[:, 1], expected.shape)] = 1
    share = count_votes(points, dist, np.ones(1, np.float32), 40, 50)
    assert np.abs(share - expected).sum() <= 1


def test_votes_are_weighted():
    points = np.array([[15, 15], [15, 15]], np.float32)
    dist = np.array([[5] * 32, [10] * 32], np.float32)
    share = count_votes(points, dist, np.array([3, 1], np.float32), 31, 31)
    assert share[15, 15] == pytest.approx(1)
    assert share[15, 22] == pytest.approx(0.25)
    assert share[15, 28] == 0


def test_labels_are_in_one_piece_without_holes():
    labels = np.zeros((30, 30), np.int32)
    labels[disk((15, 12), 9)] = 2
    labels[disk((15, 12), 3)] = 0
    labels[2, 28] = 2
    tidy = tidy_labels(labels)
    assert tidy[15, 12] == 2
    assert tidy[2, 28] == 0


def test_starter_outlines_discs(starter):
    grey, labels = draw_particles()
    found = segment_section(grey, starter)
    assert matching(labels, found.labels_yx, thresh=0.7).accuracy > 0.95
    assert matching(labels, found.labels_yx, thresh=0.9).accuracy > 0.6
    assert len(found.prob_n) == found.labels_yx.max() == len(found.polygons_nkc)
    assert sorted(np.unique(found.labels_yx)) == list(range(found.labels_yx.max() + 1))


@pytest.mark.parametrize("factor", [0.6, 2.5])
def test_starter_finds_the_scale_by_itself(starter, factor):
    grey, labels = draw_particles(shape=(180, 240), radii=(16, 20))
    grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    found = segment_section(grey, starter, SectionSegmentParams(turns=False, scales=(1.0,)))
    assert found.particle_px == pytest.approx(36 * factor, rel=0.25)
    assert found.labels_yx.max() == labels.max()


def test_starter_does_not_care_for_gain_and_offset(starter):
    grey, _ = draw_particles(shape=(128, 160))
    params = SectionSegmentParams(particle_px=36, turns=False)
    plain = segment_section(grey, starter, params).labels_yx
    scaled = segment_section(grey * 300 - 9000, starter, params).labels_yx
    assert matching(plain, scaled, thresh=0.9).accuracy == 1


def test_nothing_to_find(starter):
    noise = np.random.default_rng(0).normal(100, 5, (96, 96)).astype(np.float32)
    found = segment_section(noise, starter)
    assert found.labels_yx.shape == (96, 96)
    assert len(found.prob_n) <= 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 3)), "shape"),
        (np.full((20, 20), 7.0), "contrast"),
        (np.where(np.eye(20) > 0, np.nan, 1.0), "not finite"),
        (np.zeros((0, 3)), "shape"),
    ],
)
def test_what_is_refused(starter, image, message):
    with pytest.raises(SettingsError, match=message):
        segment_section(image, starter)


HOW = {"band": 0.06, "smoothing_px": 0.9, "least_contrast": 2.0}


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def make_square(noise=0.05, contrast=1.0):
    truth = np.zeros((80, 80), bool)
    truth[polygon([20, 20, 58, 58], [20, 58, 58, 20])] = True
    rng = np.random.default_rng(0)
    grey = cv2.GaussianBlur(truth.astype(np.float32) * contrast, (0, 0), 1)
    guess = np.zeros(truth.shape, np.int32)
    guess[disk((39, 39), 21.5)] = 1
    return truth, guess, (grey + rng.normal(0, noise, grey.shape)).astype(np.float32)


def test_rounded_corners_are_won_back():
    truth, guess, grey = make_square()
    refined = refine_outlines(guess, grey, **HOW)
    assert iou(refined == 1, truth) > iou(guess == 1, truth) + 0.03


def test_no_edge_no_change():
    _, guess, grey = make_square(contrast=0.0)
    np.testing.assert_array_equal(refine_outlines(guess, grey, **HOW), guess)


def test_voids_and_cracks_stay_inside():
    truth, _, grey = make_square()
    guess = truth.astype(np.int32)
    grey[34:44, 34:44] = 0
    grey[39:41, 20:40] = 0
    refined = refine_outlines(guess, grey, **HOW)
    assert refined[39, 39] == 1
    assert iou(refined == 1, truth) > 0.95


@pytest.mark.parametrize("gap", [0, 4])
def test_neighbours_keep_their_side(gap):
    labels = np.zeros((60, 100), np.int32)
    labels[disk((30, 28), 18)] = 1
    labels[disk((30, 64 + gap), 18)] = 2
    grey = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), 1)
    refined = refine_outlines(labels, grey, **HOW)
    for number in (1, 2):
        assert iou(refined == number, labels == number) > 0.95
