"""The rotation axis, and whole turns with the axis at a side of the frame."""

import numpy as np
import pytest
from test_fbp import SIZE, draw_discs, integrate_discs

from ncm_kedro.errors import TomogramError
from ncm_kedro.holo.fbp import mark_circle, reconstruct_rows
from ncm_kedro.holo.registration import find_centre, stitch_half_turns

TURN = np.arange(360) * 1.0


@pytest.mark.parametrize("centre_px", [61.0, 66.5])
def test_the_axis_is_found(centre_px):
    angles = np.arange(180) * 1.0
    rows = np.stack([integrate_discs(angles, SIZE, centre_px)] * 2)
    found, spread = find_centre(rows, angles, half_acquisition=False)
    assert found == pytest.approx(centre_px, abs=0.3)
    assert spread < 0.5


@pytest.mark.parametrize("order", ["falling", "interlaced", "a whole turn falling"])
def test_the_axis_is_found_in_whatever_order_angles_come(order):
    angles = np.arange(180) * 1.0
    if order == "falling":
        angles = angles[::-1]
    elif order == "interlaced":
        angles = np.concatenate([angles[n::6] for n in range(6)])
    else:
        angles = 360 - TURN
    rows = integrate_discs(angles, SIZE, 66.5)[None]
    assert find_centre(rows, angles, half_acquisition=False)[0] == pytest.approx(66.5, abs=0.3)


@pytest.mark.parametrize("centre_px", [68.3, 11.7])
def test_half_acquisition_gives_twice_the_width(centre_px):
    rows = integrate_discs(TURN, 80, centre_px)[None]
    lines, angles, axis = stitch_half_turns(rows, TURN, centre_px, "scan")
    assert len(angles) == 180
    section = reconstruct_rows(lines, angles, axis, size_px=SIZE)[0]
    inside = mark_circle(SIZE, 57)
    error = np.sqrt(np.mean((section - draw_discs(SIZE))[inside] ** 2)) / np.ptp(draw_discs(SIZE))
    assert error <= 0.03


def test_the_axis_at_a_side_is_found():
    rows = integrate_discs(TURN, 80, 66.0)[None]
    assert find_centre(rows, TURN, half_acquisition=True)[0] == pytest.approx(66.0, abs=1)


def test_a_missing_half_is_told():
    rows = integrate_discs(TURN[:270], 80, 68.0)[None]
    with pytest.raises(TomogramError, match="half acquisition"):
        stitch_half_turns(rows, TURN[:270], 68.0, "scan")
