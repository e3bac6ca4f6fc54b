"""The scale bar of a banner, and the pixel size of a frame.

The bar is measured between the centres of its end ticks to a fraction of a pixel (without ticks,
between its outer edges at half height), and its printed length is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.sem.io.banner import measure_ink
from ncm_kedro.sem.io.glyphs import Word, read_words

_MIN_BAR_FRACTION = 0.04  # of the width
_INK = 100.0  # grey levels from the background
_FULL_WIDTH = 0.95  # a longer line is a rule between text fields
_END_SLACK_PX = 4  # an end tick may stand off the end of the line by this much
_TICK_ROWS = 2
_LABEL = re.compile(r"(\d+(?:\.\d+)?)(nm|um|mm)$")
_UNIT_UM = {"nm": 1e-3, "um": 1.0, "mm": 1e3}
_ROUND_DIGITS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.5, 8.0)
_LABEL_REACH = (0.15, 0.4)  # of the bar's length, before its start and after its end


@dataclass(frozen=True)
class ScaleBar:
    """A scale bar found in a banner.

    Parameters
    ----------
    length_px
        Distance between the centres of the end ticks.
    start_px, end_px
        Columns of its ends.
    first_row, last_row
        Rows of its line, within the banner.
    length_um
        Length that is printed.
    """

    length_px: float
    start_px: float
    end_px: float
    first_row: int
    last_row: int
    length_um: float = 0.0


def read_scale_bar(image_yx: NDArray[np.uint8], banner: slice) -> ScaleBar | None:
    """Measure the scale bar of a frame ``(H, W)`` and read its length; None unless both succeed."""
    banner_yx = image_yx[banner]
    bar = measure_scale_bar(banner_yx) if len(banner_yx) else None
    length_um = None if bar is None else read_label_um(banner_yx, bar)
    return None if bar is None or length_um is None else replace(bar, length_um=length_um)


def measure_scale_bar(banner_yx: NDArray[np.uint8]) -> ScaleBar | None:
    """Find the scale bar of a banner ``(H, W)`` and measure its length; None without one."""
    ink_yx = measure_ink(banner_yx)
    width = ink_yx.shape[1]
    runs = [_longest_run(row > _INK) for row in ink_yx]
    lengths = np.array([stop - start for start, stop in runs])
    lengths[lengths > _FULL_WIDTH * width] = 0
    row = int(lengths.argmax())
    if lengths[row] < _MIN_BAR_FRACTION * width:
        return None
    first, last = row, row
    while last + 1 < len(lengths) and lengths[last + 1] >= 0.9 * lengths[row]:
        last += 1
    start, stop = runs[row]
    for tick_rows in (ink_yx[last + 1 : last + 1 + _TICK_ROWS],
                      ink_yx[max(first - _TICK_ROWS, 0) : first]):  # fmt: skip
        if ends := _find_end_ticks(tick_rows, start, stop):
            return ScaleBar(ends[1] - ends[0], *ends, first, last)
    window_x = ink_yx[first : last + 1, max(start - 3, 0) : stop + 3].mean(axis=0)
    length_px = float(window_x.sum() / np.median(window_x))
    return ScaleBar(length_px, float(start), float(start + length_px), first, last)


def read_label_um(banner_yx: NDArray[np.uint8], bar: ScaleBar) -> float | None:
    """Read the length (um) that is printed beside the bar; None if it is no round length."""
    ink_yx = measure_ink(banner_yx)
    before, after = (share * bar.length_px for share in _LABEL_REACH)
    first = max(0, int(bar.start_px - before))
    last = int(bar.end_px + after) + 1
    readings = []
    for word in read_words(ink_yx[:, first:last]):
        if (match := _LABEL.search(word.text)) and is_round(float(match[1])):
            readings.append((_distance(word, bar), float(match[1]) * _UNIT_UM[match[2]]))
    return min(readings)[1] if readings else None


def is_round(value: float) -> bool:
    """Whether a number is one that scale bars carry: 1, 2, 5, ... times a power of ten."""
    if value <= 0:
        return False
    mantissa = value / 10 ** np.floor(np.log10(value) + 1e-9)
    return bool(np.isclose(mantissa, _ROUND_DIGITS).any())


def _find_end_ticks(
    rows_yx: NDArray[np.uint8], start: int, stop: int
) -> tuple[float, float] | None:
    """Centres of the ticks at both ends of a line, None unless both are there."""
    if not len(rows_yx):
        return None
    offset = max(start - _END_SLACK_PX, 0)
    profile_x = rows_yx[:, offset : stop + _END_SLACK_PX].mean(axis=0)
    is_ink = np.concatenate([[False], profile_x > _INK, [False]])
    edges = np.flatnonzero(np.diff(is_ink.astype(np.int8)))
    firsts, lasts = edges[::2] + offset, edges[1::2] + offset
    if len(firsts) < 2:
        return None
    widths = lasts - firsts
    at_ends = firsts[0] - start <= _END_SLACK_PX and stop - lasts[-1] <= _END_SLACK_PX
    if not at_ends or max(widths[0], widths[-1]) > 0.1 * (stop - start):
        return None
    left, right = (
        _centre(profile_x, int(a - offset), int(b - offset)) + offset
        for a, b in ((firsts[0], lasts[0]), (firsts[-1], lasts[-1]))
    )
    return left, right


def _centre(profile_x: NDArray[np.float64], first: int, last: int) -> float:
    """Ink-weighted centre of a tick, a pixel beyond it included on each side."""
    columns = np.arange(max(first - 1, 0), min(last + 1, len(profile_x)))
    return float((columns * profile_x[columns]).sum() / profile_x[columns].sum())


def _longest_run(is_ink_x: NDArray[np.bool_]) -> tuple[int, int]:
    padded = np.concatenate([[False], is_ink_x, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    if not edges.size:
        return 0, 0
    firsts, lasts = edges[::2], edges[1::2]
    longest = int((lasts - firsts).argmax())
    return int(firsts[longest]), int(lasts[longest])


def _distance(word: Word, bar: ScaleBar) -> float:
    """Vertical distance (px) between a word and the bar."""
    above = bar.first_row - (word.y_px + word.height_px)
    below = word.y_px - bar.last_row
    return float(max(above, below, 0))
