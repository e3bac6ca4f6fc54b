"""The drawn banner."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from ncm_kedro.errors import SettingsError
from ncm_kedro.synthetic.sem.acquisition import draw_banner, place_scale_bar

MOMENT = datetime(2019, 9, 2, 0, 9)


def measure_end_ticks(banner: np.ndarray, left: int) -> tuple[float, float]:
    """Return the weighted centres of the first and last tick below the bar."""
    row = banner[22].astype(float)
    row[:left] = 0
    inked = np.flatnonzero(row > 0)
    groups = np.split(inked, np.flatnonzero(np.diff(inked) > 1) + 1)
    centres = [float(np.average(g, weights=row[g])) for g in groups]
    return centres[0], centres[-1]


@pytest.mark.parametrize(
    ("width_px", "pixel_size_um", "length_um"),
    [(1280, 100 / 371, 100), (640, 100 / 371, 100), (640, 0.4, 100), (320, 100 / 371, 50)],
)
def test_tick_centres_are_the_printed_length_apart(
    width_px: int, pixel_size_um: float, length_um: int
) -> None:
    bar = place_scale_bar(width_px, pixel_size_um)
    banner = draw_banner(width_px, pixel_size_um, MOMENT)
    first, last = measure_end_ticks(banner, int(bar.first_tick_x_px) - 6)
    assert bar.length_um == length_um
    assert (last - first) * pixel_size_um == pytest.approx(length_um, rel=1e-3)
    assert last < width_px - 4


def test_real_layout_at_full_width() -> None:
    bar = place_scale_bar(1280, 100 / 371)
    assert (bar.first_tick_x_px, bar.last_tick_x_px) == (811, 1182)
    banner = draw_banner(1280, 100 / 371, MOMENT)
    assert banner.shape == (64, 1280)
    bright = banner > 128
    assert bright[16, 808:1185].all()
    assert bright[:8].sum() == bright[53:].sum() == 0
    assert 0.02 < bright.mean() < 0.10


def test_text_depends_on_the_minute_and_stays_clear_of_the_bar() -> None:
    one = draw_banner(640, 0.27, MOMENT)
    other = draw_banner(640, 0.27, MOMENT.replace(minute=48))
    assert (one != other).any()
    changed = np.flatnonzero((one != other).any(axis=0))
    assert changed.max() < place_scale_bar(640, 0.27).first_tick_x_px - 6


def test_a_frame_too_small_for_any_bar_is_refused() -> None:
    with pytest.raises(SettingsError, match="raise pixel_size_um or width_px"):
        place_scale_bar(40, 0.01)
