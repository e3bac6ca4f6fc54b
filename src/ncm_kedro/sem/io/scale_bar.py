"""The drawn scale bar of a frame: its length in pixels, and the length that is printed with it.

Known are a line with or without ticks (SEC, Zeiss), a ruler on the edge of its cell (TESCAN), two
halves with the label between (FEI, Thermo), a filled bar (JEOL, ImageJ) and a row of eleven ticks
(Hitachi), in a databar or drawn into the image. A bar counts only with its label, and the label
only if it is read beyond doubt and no other could be meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.sem.io.bar_shapes import (
    END_SLACK_PX,
    INK,
    MIN_BAR_FRACTION,
    ScaleBar,
    find_bars,
)
from ncm_kedro.sem.io.glyphs import Word, read_words
from ncm_kedro.units import parse_length_um

_MIN_RULE_PX = 24
_MIN_CONTRAST = 60  # grey levels between print and background
_DRAWN_FROM = 180  # grey level from which print in the image itself is told from the image
_DRAWN_FRACTION = 0.25  # of the height, at the bottom and at the top, that is searched for it
_DRAWN_REACH = 0.1  # of the width, around a bar
_MAX_DRAWN_BLOBS = 3000
_LABEL = re.compile(r"(0\.\d+|[1-9]\d*(?:\.\d+)?)(nm|um|mm)")
_ROUND_DIGITS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.5, 8.0)
_WORKING_DISTANCE = re.compile(r"\d+\.\dmm")  # a bar's mm are whole, or have two decimals
_REACH = (0.15, 0.4)  # of the bar's length: a label above or below may begin before, end after
_MAX_ROWS_AWAY, _MAX_COLUMNS_AWAY = 2.5, 4.0  # heights of the label
_SAME = 0.01  # relative


@dataclass(frozen=True)
class _Label:
    text: str
    length_um: float
    x_px: int
    y_px: int
    right_px: int
    bottom_px: int


def read_scale_bar(image_yx: NDArray[np.uint8], databars: Sequence[slice]) -> ScaleBar | None:
    """Measure the scale bar of a frame and read its length.

    Parameters
    ----------
    image_yx
        The whole frame, ``(H, W)``.
    databars
        Rows of the databars; without any, the top and the bottom of the image are searched.

    Returns
    -------
    ScaleBar or None
        In rows and columns of the frame. None unless exactly one length is found and read.
    """
    height = image_yx.shape[0]
    rows = max(1, round(_DRAWN_FRACTION * height))
    if databars:
        strips = [
            (part.start, read_bars(ink_yx))
            for part in databars
            for ink_yx in _separate_print(image_yx[part])
        ]
    else:
        strips = [
            (top, read_bars(ink_yx, reach_px=round(_DRAWN_REACH * image_yx.shape[1])))
            for top in (height - rows, 0)
            for ink_yx in _separate_drawing(image_yx[top : top + rows])
        ]
    found = [
        replace(bar, first_row=bar.first_row + top, last_row=bar.last_row + top)
        for top, bars in strips
        for bar in bars
    ]
    sizes = [bar.length_um / bar.length_px for bar in found]
    return found[0] if found and max(sizes) <= (1 + _SAME) * min(sizes) else None


def read_bars(ink_yx: NDArray[np.uint8], reach_px: int | None = None) -> list[ScaleBar]:
    """Find all scale bars in print ``(H, W)``, bright on black, whose label is read.

    Parameters
    ----------
    reach_px
        Rows above and below a bar, and columns beside it, that its label is searched in; None
        for all.
    """
    bars = find_bars(ink_yx, is_drawn=reach_px is not None)
    if not bars:
        return []
    text_yx = _remove_lines(ink_yx, bars)
    labels = _read_labels(text_yx) if reach_px is None else []
    read = []
    for bar in bars:
        near = labels if reach_px is None else _read_labels_near(text_yx, bar, reach_px)
        if length_um := _choose_label(bar, near, ink_yx):
            read.append(replace(bar, length_um=length_um))
    return [bar for bar in read if bar.gap_px] or read  # else each half would count as a bar


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
        if cv2.connectedComponents((ink_yx > INK).astype(np.uint8))[0] <= _MAX_DRAWN_BLOBS:
            yield ink_yx


def _remove_lines(ink_yx: NDArray[np.uint8], bars: list[ScaleBar]) -> NDArray[np.uint8]:
    """Blank the bars and everything that hangs on a long line or upright."""
    is_ink = (ink_yx > INK).astype(np.uint8)
    _, blobs_yx = cv2.connectedComponents(is_ink)
    height, width = ink_yx.shape
    across = np.ones((1, max(_MIN_RULE_PX, round(MIN_BAR_FRACTION * width))), np.uint8)
    upright = np.ones((max(_MIN_RULE_PX, height // 2), 1), np.uint8)
    is_line = cv2.morphologyEx(is_ink, cv2.MORPH_OPEN, across) > 0
    if height < width / 4:  # a databar, whose cells uprights divide
        is_line |= cv2.morphologyEx(is_ink, cv2.MORPH_OPEN, upright) > 0
    for bar in bars:
        gap_px = bar.gap_px or (int(bar.end_px), int(bar.end_px))
        for start, stop in ((int(bar.start_px), gap_px[0]), (gap_px[1], int(bar.end_px))):
            columns = slice(start + END_SLACK_PX, max(stop - END_SLACK_PX, 0))
            is_line[bar.first_row : bar.last_row + 1, columns] = True
    lines = np.unique(blobs_yx[is_line & (is_ink > 0)])
    return np.where(np.isin(blobs_yx, lines), 0, ink_yx).astype(np.uint8)


def _read_labels(text_yx: NDArray[np.uint8]) -> list[_Label]:
    """Read all lengths that stand at the beginning of a text."""
    words = read_words(text_yx)
    labels = []
    for word, after in zip(words, [*words[1:], None], strict=False):
        for parts in ([word], [word, after] if after is not None and after.follows else []):
            text = "".join(part.text for part in parts)
            match = _LABEL.fullmatch(text)
            length_um = parse_length_um(text) if match and is_round(float(match[1])) else None
            if length_um is None or word.follows:
                continue
            label = _Label(
                text, length_um, word.x_px, min(part.y_px for part in parts),
                parts[-1].x_px + parts[-1].width_px,
                max(part.y_px + part.height_px for part in parts),
            )  # fmt: skip
            others = [other for other in words if all(other is not part for part in parts)]
            if not any(_overlaps(label, other) for other in others):  # a broken character
                labels.append(label)
    return labels


def _overlaps(label: _Label, word: Word) -> bool:
    return (
        word.x_px < label.right_px
        and label.x_px < word.x_px + word.width_px
        and word.y_px < label.bottom_px
        and label.y_px < word.y_px + word.height_px
    )


def _read_labels_near(text_yx: NDArray[np.uint8], bar: ScaleBar, reach_px: int) -> list[_Label]:
    """Read the lengths beside a bar, none that the cut could have shortened."""
    top = max(bar.first_row - reach_px, 0)
    left = max(int(bar.start_px) - reach_px, 0)
    window_yx = text_yx[top : bar.last_row + reach_px, left : int(bar.end_px) + reach_px]
    return [
        replace(
            label, x_px=label.x_px + left, right_px=label.right_px + left,
            y_px=label.y_px + top, bottom_px=label.bottom_px + top,
        )
        for label in _read_labels(window_yx)
        if left == 0 or label.x_px > 2 * (label.bottom_px - label.y_px)
    ]  # fmt: skip


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
    between_yx = ink_yx[label.y_px : label.bottom_px, left + 3 : right - 2] > INK
    return not between_yx.all(axis=0).any()
