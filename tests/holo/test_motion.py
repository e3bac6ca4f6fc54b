"""Movement of the sample, from sums of rows that a turn must leave unchanged."""

import numpy as np
import pytest

from ncm_kedro.holo.registration import find_motion, sum_rows

ANGLES = np.arange(120) * 1.5
BALLS = [(34, 10, -12, 9), (50, -14, 5, 12), (70, 3, 15, 8)]  # z, y, x from the axis, radius


def project_balls(moved_ad, size=110):
    z, u = np.arange(size)[:, None], np.arange(size)[None] - (size - 1) / 2
    images = np.zeros((len(ANGLES), size, size), np.float32)
    for number, (angle, (dz, du)) in enumerate(zip(np.deg2rad(ANGLES), moved_ad, strict=True)):
        for cz, cy, cx, r in BALLS:
            across = u - du - (cx * np.cos(angle) + cy * np.sin(angle))
            images[number] -= 2 * np.sqrt(np.maximum(r**2 - (z - dz - cz) ** 2 - across**2, 0))
    return images


def leave_gauge(moved_ad):
    """What does not move the volume as a whole."""
    turn = np.deg2rad(ANGLES)
    waves = np.stack([np.ones_like(turn), np.cos(turn), np.sin(turn)], axis=1)
    across = moved_ad[:, 1] - waves @ np.linalg.lstsq(waves, moved_ad[:, 1], rcond=None)[0]
    return np.stack([moved_ad[:, 0] - np.median(moved_ad[:, 0]), across], axis=1)


def test_planted_movement_is_found_within_a_twentieth_of_a_pixel():
    rng = np.random.default_rng(3)
    moved = np.cumsum(rng.normal(0, 0.3, (120, 2)), axis=0)
    rows = np.stack([sum_rows(image) for image in project_balls(moved)])
    found = find_motion(rows, ANGLES)
    assert np.abs(leave_gauge(moved)).max(axis=0) == pytest.approx([3, 2.5], abs=2)
    assert np.sqrt(np.mean((found - leave_gauge(moved)) ** 2, axis=0)).max() <= 0.05


def test_a_jump_of_a_few_projections_takes_nothing_from_the_others():
    moved = np.zeros((120, 2))
    moved[50:56] = 4.0
    rows = np.stack([sum_rows(image) for image in project_balls(moved)])
    assert np.abs(find_motion(rows, ANGLES) - moved).max() <= 0.1


def test_a_sample_that_reaches_beyond_the_sides_says_nothing():
    rows = np.stack([sum_rows(image[:, 33:77]) for image in project_balls(np.zeros((120, 2)))])
    assert find_motion(rows, ANGLES) is None
