"""Outlines of discs that were drawn."""

import numpy as np
import pytest

from explain_cases import PIXEL_UM, draw_discs
from ncm_kedro.params.sem_explain import BoundaryParams
from ncm_kedro.sem.explain.crops import (
    BETWEEN,
    BOUNDARY,
    INSIDE,
    label_particles,
    mark_regions,
)

PARAMS = BoundaryParams(particle_um=9.0, smoothing_um=0.6, band_um=2.0)


def test_drawn_outlines_are_found_and_nothing_else():
    grey, signed = draw_discs()
    mask = mark_regions(grey, PIXEL_UM, PARAMS) == BOUNDARY
    truth = np.abs(signed) < 1.0
    assert mask[truth].mean() > 0.95
    assert (np.abs(signed[mask]) < 4.0).mean() > 0.97
    assert not mask[signed > 5].any()


def test_each_disc_is_one_particle():
    grey, signed = draw_discs()
    labels = label_particles(grey, PIXEL_UM, PARAMS)
    inside = labels[signed > 4]
    assert (inside > 0).all()
    assert len(np.unique(inside)) == 49


def test_touching_discs_are_parted_along_the_valley_between_them():
    y, x = np.mgrid[:80, :80]
    height = np.maximum(*(1 - np.hypot(y - 40, x - cx) / 16 for cx in (26, 54)))
    grey = np.clip(60 + 150 * height, 0, 255).astype(np.uint8)
    labels = label_particles(grey, PIXEL_UM, PARAMS)
    assert labels[40, 26] != labels[40, 54]
    assert (mark_regions(grey, PIXEL_UM, PARAMS) == BOUNDARY)[40, 39:42].all()


def test_the_band_is_as_wide_as_asked_in_um_at_any_pixel_size():
    grey, _ = draw_discs()
    shares = [
        (mark_regions(image, size, PARAMS) == BOUNDARY).mean()
        for image, size in ((grey, PIXEL_UM), (np.kron(grey, np.ones((2, 2), np.uint8)), 0.25))
    ]
    assert shares[0] == pytest.approx(shares[1], rel=0.15)
    wider = PARAMS.model_copy(update={"band_um": 4.0})
    assert (mark_regions(grey, PIXEL_UM, wider) == BOUNDARY).mean() > 1.6 * shares[0]


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_uniform_crop_has_no_boundary(grey):
    regions = mark_regions(np.full((40, 40), grey, np.uint8), PIXEL_UM, PARAMS)
    assert (regions == BETWEEN).all()


def test_inside_and_between_are_told_apart():
    grey, signed = draw_discs()
    regions = mark_regions(grey, PIXEL_UM, PARAMS)
    assert (regions[signed > 4] == INSIDE).all()
    assert (regions[signed < -4] == BETWEEN).all()
