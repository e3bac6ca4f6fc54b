"""The drawn scale bar of a frame: its length in pixels, and the length that is printed with it.

Known are a line with or without ticks (SEC, Zeiss), a ruler on the edge of its cell (TESCAN), two
halves with the label between (FEI, Thermo), a filled bar (JEOL, ImageJ) and a row of eleven ticks
(Hitachi), in a databar or drawn into the image. A bar counts only with its label, and the label
only if it is read beyond doubt and no other could be meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.sem.io.glyphs import read_words
from ncm_kedro.units import parse_length_um

_INK, _LINE_INK = 100, 150  # grey levels from the background, print being 255
_MIN_CONTRAST = 60  # grey levels between print and background
_DRAWN_FROM = 180  # grey level from which print in the image itself is told from the image
_DRAWN_FRACTION = 0.25  # of the height, at the bottom and at the top, that is searched for it
_MAX_DRAWN_BLOBS = 3000
_MIN_BAR_FRACTION, _MIN_HALF_FRACTION = 0.04, 0.02  # of the width
_MIN_HALF_PX = 12
_FULL_WIDTH = 0.95  # a longer line is a rule between text fields
_MIN_FILL, _MIN_ASPECT = 0.9, 3.0
_END_SLACK_PX = 4  # an end tick may stand off the end of the line by this much
_TICK_ROWS = 2
_MIN_RULER_TICKS = 5
_TICKS_IN_A_ROW = 11
_TICK_SLACK_PX = 1.3
_LABEL = re.compile(r"(0\.\d+|[1-9]\d*(?:\.\d+)?)(nm|um|mm)")
_ROUND_DIGITS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.5, 8.0)
_WORKING_DISTANCE = re.compile(r"\d+\.\dmm")  # a bar's mm are whole, or have two decimals
_REACH = (0.15, 0.4)  # of the bar's length: a label above or below may begin before, end after
_MAX_ROWS_AWAY, _MAX_COLUMNS_AWAY = 2.5, 4.0  # heights of the label
_SAME = 0.01  # relative


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


@dataclass(frozen=True)
class _Label:
    text: str
    length_um: float
    x_px: int
    y_px: int
    right_px: int
    bottom_px: int


def read_scale_bar(image_yx: NDArray[np.uint8], banner: slice) -> ScaleBar | None:
    """Measure the scale bar of a frame and read its length.

    Parameters
    ----------
    image_yx
        The whole frame, ``(H, W)``.
    banner
        Rows of the databar; if there are none, the top and the bottom of the image are searched.

    Returns
    -------
    ScaleBar or None
        In rows and columns of the frame. None unless exactly one bar is found and read.
    """
    height = image_yx.shape[0]
    first, stop, _ = banner.indices(height)
    if stop > first:
        strips = [(first, ink_yx) for ink_yx in _separate_print(image_yx[first:stop])]
    else:
        rows = max(1, round(_DRAWN_FRACTION * height))
        strips = [
            (top, ink_yx)
            for top in (height - rows, 0)
            for ink_yx in _separate_drawing(image_yx[top : top + rows])
        ]
    found = [
        replace(bar, first_row=bar.first_row + top, last_row=bar.last_row + top)
        for top, ink_yx in strips
        for bar in read_bars(ink_yx)
    ]
    sizes = [bar.length_um / bar.length_px for bar in found]
    return found[0] if found and max(sizes) <= (1 + _SAME) * min(sizes) else None


def read_bars(ink_yx: NDArray[np.uint8]) -> list[ScaleBar]:
    """Find all scale bars in print ``(H, W)``, bright on black, whose label is read."""
    bars = find_bars(ink_yx)
    if not bars:
        return []
    labels = _read_labels(_remove_lines(ink_yx, bars))
    lengths = ((bar, _choose_label(bar, labels, ink_yx)) for bar in bars)
    read = [replace(bar, length_um=length_um) for bar, length_um in lengths if length_um]
    return [bar for bar in read if bar.gap_px] or read  # else each half would count as a bar


def find_bars(ink_yx: NDArray[np.uint8]) -> list[ScaleBar]:
    """Find what may be a scale bar in print ``(H, W)``, bright on black."""
    is_ink = ink_yx > _LINE_INK
    width = ink_yx.shape[1]
    lines = list(_find_lines(is_ink))
    bars = []
    for x, y, length, thickness in lines:
        if length < _MIN_BAR_FRACTION * width:
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
    return [*_pair_halves(lines, ink_yx), *bars, *_find_tick_rows(is_ink)]


def is_round(value: float) -> bool:
    """Whether a number is one that scale bars carry: 1, 2, 5, ... times a power of ten."""
    if value <= 0:
        return False
    mantissa = value / 10 ** np.floor(np.log10(value) + 1e-9)
    return bool(np.isclose(mantissa, _ROUND_DIGITS).any())


def _separate_print(banner_yx: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Distance from the databar's grey value, upwards and downwards, print being 255."""
    level = int(np.bincount(banner_yx.ravel(), minlength=256).argmax())
    for sign in (1, -1):
        ink_yx = np.clip(sign * (banner_yx.astype(np.int16) - level), 0, 255)
        peak = int(ink_yx.max())
        if peak >= _MIN_CONTRAST:
            yield (ink_yx * (255.0 / peak)).astype(np.uint8)


def _separate_drawing(image_yx: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Pure white and pure black of an image; nothing where the image itself is full of it."""
    for bright_yx in (image_yx, 255 - image_yx):
        scaled_yx = (bright_yx.astype(np.float32) - _DRAWN_FROM) * (255 / (255 - _DRAWN_FROM))
        ink_yx = np.clip(scaled_yx, 0, 255).astype(np.uint8)
        if cv2.connectedComponents((ink_yx > _INK).astype(np.uint8))[0] <= _MAX_DRAWN_BLOBS:
            yield ink_yx


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
        offset = max(x - _END_SLACK_PX, 0)
        profile_x = rows_yx[:, offset : x + length + _END_SLACK_PX].mean(axis=0)
        edges = np.flatnonzero(np.diff(np.r_[0, (profile_x > _INK).astype(np.int8), 0]))
        firsts, lasts = edges[::2], edges[1::2]
        if len(firsts) < 2 or (lasts - firsts).max() > 0.1 * length:
            continue
        if (
            firsts[0] + offset - x > _END_SLACK_PX
            or x + length - lasts[-1] - offset > _END_SLACK_PX
        ):
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
    for left in lines:
        for right in lines:
            gap = right[0] - left[0] - left[2]
            total = right[0] + right[2] - left[0]
            same_rows = abs(left[1] - right[1]) <= 1 and abs(left[3] - right[3]) <= 1
            if not same_rows or gap <= 0 or total < _MIN_BAR_FRACTION * width:
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


def _remove_lines(ink_yx: NDArray[np.uint8], bars: list[ScaleBar]) -> NDArray[np.uint8]:
    """Blank the bars and everything that hangs on a long line or upright."""
    is_ink = (ink_yx > _INK).astype(np.uint8)
    _, blobs_yx = cv2.connectedComponents(is_ink)
    height, width = ink_yx.shape
    across = np.ones((1, max(_MIN_HALF_PX, round(_MIN_HALF_FRACTION * width))), np.uint8)
    upright = np.ones((max(_MIN_HALF_PX, height // 2), 1), np.uint8)
    is_line = cv2.morphologyEx(is_ink, cv2.MORPH_OPEN, across) > 0
    if height < width / 4:  # a databar, whose cells uprights divide
        is_line |= cv2.morphologyEx(is_ink, cv2.MORPH_OPEN, upright) > 0
    for bar in bars:
        if bar.gap_px is None:
            columns = slice(int(bar.start_px) + _END_SLACK_PX, int(bar.end_px) - _END_SLACK_PX)
            is_line[bar.first_row : bar.last_row + 1, columns] = True
    lines = np.unique(blobs_yx[is_line & (is_ink > 0)])
    return np.where(np.isin(blobs_yx, lines), 0, ink_yx).astype(np.uint8)


def _read_labels(text_yx: NDArray[np.uint8]) -> list[_Label]:
    """Read all lengths that stand at the beginning of a text."""
    words = read_words(text_yx)
    labels = []
    for word, after in pairwise([*words, None]):
        if word is None or word.follows:
            continue
        pair = [word, after] if after is not None and after.follows else [word]
        for parts in ([word], pair):
            text = "".join(part.text for part in parts)
            match = _LABEL.fullmatch(text)
            length_um = parse_length_um(text) if match else None
            if match and length_um and is_round(float(match[1])):
                labels.append(_Label(
                    text, length_um, word.x_px, min(part.y_px for part in parts),
                    parts[-1].x_px + parts[-1].width_px,
                    max(part.y_px + part.height_px for part in parts),
                ))  # fmt: skip
                break
    return labels


def _choose_label(bar: ScaleBar, labels: list[_Label], ink_yx: NDArray[np.uint8]) -> float | None:
    """Length (um) that is printed with a bar; None if there is none, or more than one."""
    near = [label for label in labels if _is_beside(label, bar, ink_yx, len(labels) == 1)]
    if bar.gap_px is None:
        near = [label for label in near if not _WORKING_DISTANCE.fullmatch(label.text)]
    if any(not label.text.endswith("mm") for label in near):
        near = [label for label in near if not label.text.endswith("mm")]
    lengths = {label.length_um for label in near}
    return lengths.pop() if len(lengths) == 1 else None


def _is_beside(label: _Label, bar: ScaleBar, ink_yx: NDArray[np.uint8], is_only_one: bool) -> bool:
    """Whether a label stands where labels of such a bar stand."""
    rows = max(bar.first_row - label.bottom_px, label.y_px - bar.last_row - 1, 0)
    columns = max(bar.start_px - label.right_px, label.x_px - bar.end_px, 0)
    height = label.bottom_px - label.y_px
    if bar.gap_px is not None:
        is_between = bar.gap_px[0] <= label.x_px and label.right_px <= bar.gap_px[1] + 1
        return is_between and rows == 0
    before, after = (fraction * bar.length_px for fraction in _REACH)
    is_over = label.x_px >= bar.start_px - before and label.right_px <= bar.end_px + after
    if is_over and rows <= _MAX_ROWS_AWAY * height:
        return True
    reach = max(_MAX_COLUMNS_AWAY * height, bar.length_px / 2)
    if is_only_one and not label.text.endswith("mm"):
        reach = max(2.5 * _MAX_COLUMNS_AWAY * height, 1.5 * bar.length_px)
    if rows > height / 2 or columns > reach:
        return False
    left, right = sorted((int(bar.start_px), int(bar.end_px), label.x_px, label.right_px))[1:3]
    between_yx = ink_yx[label.y_px : label.bottom_px, left + 3 : right - 2] > _INK
    return not between_yx.all(axis=0).any()
