"""What may be a scale bar, by its shape: lines, rulers, halves, filled bars and rows of ticks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

INK = 100  # grey levels from the background, print being 255
END_SLACK_PX = 4  # an end tick may stand off the end of the line by this much
MIN_BAR_FRACTION = 0.04  # of the width
_MIN_HALF_PX, _MIN_HALF_FRACTION = 12, 0.02  # of the width
_LINE_INK, _DRAWN_INK = 150, 235
_FULL_WIDTH = 0.95  # a longer line is a rule between text fields
_MIN_FILL, _MIN_ASPECT = 0.9, 3.0
_MAX_TOUCHED, _MAX_TOUCHED_HALF = 0.5, 0.15  # of a line's length
_TICK_ROWS = 2
_MIN_RULER_TICKS = 5
_TICKS_IN_A_ROW = 11
_TICK_SLACK_PX = 1.3


@dataclass(frozen=True)
class ScaleBar:
    """A scale bar.

    Parameters
    ----------
    length_px
        Distance between the centres of the end ticks; without ticks, its width less half a pixel
        (some programs count the pixels of a bar, some the steps between them).
    start_px, end_px
        Columns of its ends.
    first_row, last_row
        Rows of its line.
    length_um
        Length that is printed; 0 where it was not read.
    gap_px
        First and last column between two halves, for a label between them.
    """

    length_px: float
    start_px: float
    end_px: float
    first_row: int
    last_row: int
    length_um: float = 0.0
    gap_px: tuple[int, int] | None = None


def find_bars(ink_yx: NDArray[np.uint8], *, is_drawn: bool = False) -> list[ScaleBar]:
    """Find what may be a scale bar in print ``(H, W)``, bright on black.

    Parameters
    ----------
    is_drawn
        Whether it is drawn into the image: lines are then pure, thicker than a pixel, and whole.
    """
    is_ink = ink_yx > (_DRAWN_INK if is_drawn else _LINE_INK)
    width = ink_yx.shape[1]
    lines = [line for line in _find_lines(is_ink) if not is_drawn or line[3] > 1]
    bars = []
    for x, y, length, thickness in lines:
        if length < MIN_BAR_FRACTION * width or not _stands_free(is_ink, x, y, length, thickness):
            continue
        ticks_x = _find_ticks(ink_yx, x, y, length, thickness)
        is_ruler = len(ticks_x) >= _MIN_RULER_TICKS and _are_even(ticks_x)
        if not is_ruler and _is_side_of_a_cell(is_ink, x, y, length, thickness):
            continue
        if len(ticks_x) >= 2:
            start, end = ticks_x[0], ticks_x[-1]
            bars.append(ScaleBar(end - start, start, end, y, y + thickness - 1))
        else:
            end = x + length - 0.5
            bars.append(ScaleBar(end - x, float(x), end, y, y + thickness - 1))
    halves = [] if is_drawn else _pair_halves(lines, ink_yx)
    return [*halves, *bars, *_find_tick_rows(is_ink)]


def _find_lines(is_ink: NDArray[np.bool_]) -> Iterator[tuple[int, int, int, int]]:
    """Left column, top row, length and thickness of every filled horizontal bar."""
    width = is_ink.shape[1]
    shortest = max(_MIN_HALF_PX, round(_MIN_HALF_FRACTION * width))
    kernel = np.ones((1, shortest), np.uint8)
    opened = cv2.morphologyEx(is_ink.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    _, _, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    for x, y, length, thickness, area in stats[1:].tolist():
        is_filled = area >= _MIN_FILL * length * thickness and length >= _MIN_ASPECT * thickness
        if is_filled and length <= _FULL_WIDTH * width:
            yield x, y, length, thickness


def _stands_free(
    is_ink: NDArray[np.bool_],
    x: int,
    y: int,
    length: int,
    thickness: int,
    *,
    most: float = _MAX_TOUCHED,
) -> bool:
    """Whether next to nothing but ticks touches a line."""
    columns = slice(x, x + length)
    beside = [is_ink[row, columns] for row in (y - 2, y + thickness + 1) if 0 <= row < len(is_ink)]
    return all(row_x.mean() <= most for row_x in beside)


def _is_side_of_a_cell(
    is_ink: NDArray[np.bool_], x: int, y: int, length: int, thickness: int
) -> bool:
    """Whether a line ends at the edge of the image, or at an upright that divides the databar."""
    height, width = is_ink.shape
    for end in (x, x + length - 1):
        if end <= 1 or end >= width - 2:
            return True
        near = is_ink[:, max(end - 2, 0) : end + 3]
        above, below = near[:y][::-1], near[y + thickness :]
        up, down = (
            int(np.logical_and.accumulate(rows, axis=0).sum(axis=0).max(initial=0))
            for rows in (above, below)
        )
        if (up and y - up <= 1) or (down and y + thickness + down >= height - 1):
            return True
        ends_y = [y - up - 1] * (up > 0) + [y + thickness + down] * (down > 0)
        if any(is_ink[max(row, 0), max(end - 12, 0) : end + 13].all() for row in ends_y):
            return True
    return False


def _find_ticks(
    ink_yx: NDArray[np.uint8], x: int, y: int, length: int, thickness: int
) -> list[float]:
    """Centres of the ticks of a line, below it or above; empty unless both ends have one."""
    for rows_yx in (
        ink_yx[y + thickness : y + thickness + _TICK_ROWS],
        ink_yx[max(y - _TICK_ROWS, 0) : y],
    ):
        if not len(rows_yx):
            continue
        offset = max(x - END_SLACK_PX, 0)
        profile_x = rows_yx[:, offset : x + length + END_SLACK_PX].mean(axis=0)
        edges = np.flatnonzero(np.diff(np.r_[0, (profile_x > INK).astype(np.int8), 0]))
        firsts, lasts = edges[::2], edges[1::2]
        if len(firsts) < 2 or (lasts - firsts).max() > 0.1 * length:
            continue
        if firsts[0] + offset - x > END_SLACK_PX or x + length - lasts[-1] - offset > END_SLACK_PX:
            continue
        return [
            _centre(profile_x, int(first), int(last)) + offset
            for first, last in zip(firsts, lasts, strict=True)
        ]
    return []


def _centre(profile_x: NDArray[np.float64], first: int, last: int) -> float:
    """Ink-weighted centre of a tick, a pixel beyond it included on each side."""
    columns = np.arange(max(first - 1, 0), min(last + 1, len(profile_x)))
    return float((columns * profile_x[columns]).sum() / profile_x[columns].sum())


def _are_even(ticks_x: list[float]) -> bool:
    steps = np.diff(ticks_x)
    return bool(np.abs(steps - steps.mean()).max() <= _TICK_SLACK_PX)


def _pair_halves(
    lines: list[tuple[int, int, int, int]], ink_yx: NDArray[np.uint8]
) -> Iterator[ScaleBar]:
    """Two equal lines in the same rows with room for a label between them."""
    is_ink = ink_yx > _LINE_INK
    width = is_ink.shape[1]
    lines = [line for line in lines if _stands_free(is_ink, *line, most=_MAX_TOUCHED_HALF)]
    for left in lines:
        for right in lines:
            gap = right[0] - left[0] - left[2]
            total = right[0] + right[2] - left[0]
            same_rows = abs(left[1] - right[1]) <= 1 and abs(left[3] - right[3]) <= 1
            if not same_rows or gap <= 0 or total < MIN_BAR_FRACTION * width:
                continue
            if abs(left[2] - right[2]) > 0.15 * total or gap > 0.8 * total:
                continue
            if _is_side_of_a_cell(is_ink, left[0], left[1], total, left[3]):
                continue
            ticks_x = _find_ticks(ink_yx, left[0], left[1], total, left[3])
            start, end = (ticks_x[0], ticks_x[-1]) if ticks_x else (left[0], left[0] + total - 0.5)
            yield ScaleBar(
                end - start, start, end, left[1], left[1] + left[3] - 1,
                gap_px=(left[0] + left[2], right[0] - 1),
            )  # fmt: skip


def _find_tick_rows(is_ink: NDArray[np.bool_]) -> Iterator[ScaleBar]:
    """Rows of eleven equal, evenly spaced uprights that no line joins."""
    _, _, stats, centres = cv2.connectedComponentsWithStats(is_ink.astype(np.uint8))
    widths, heights = stats[:, 2], stats[:, 3]
    is_tick = (heights >= 5) & (heights >= 2 * widths) & (widths <= 0.02 * is_ink.shape[1])
    is_tick[0] = False
    for row in np.unique(stats[is_tick, 1]):
        in_row = np.flatnonzero(is_tick & (np.abs(stats[:, 1] - row) <= 1))
        for height in np.unique(heights[in_row]):
            chosen = in_row[np.abs(heights[in_row] - height) <= 1]
            x = np.sort(centres[chosen, 0])
            if len(x) != _TICKS_IN_A_ROW or not _are_even(x.tolist()):
                continue
            yield ScaleBar(
                float(x[-1] - x[0]), float(x[0]), float(x[-1]), int(row), int(row + height - 1)
            )
            return
