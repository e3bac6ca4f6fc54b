"""Outlines drawn to the grey edge: known shapes, noise, voids, neighbours."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.draw import disk, polygon

from ncm_kedro.tomo.sections.outlines import refine_outlines

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
