"""Text and marks that a microscope draws into the image itself, in pure white or black.

Drawn characters of one line share their height and both their edges to a pixel, are of one grey
value inside, and stand out from what is around them within two pixels. Grains that are bright or
clipped do one or the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_DARK, _BRIGHT = 0, 255
_LEVEL = 60  # grey levels from pure white or black that still count as drawn (smoothed edges)
_PURE = 8  # grey levels within the body of a character
_MIN_PURE_FRACTION = 0.4
_MIN_CONTRAST = 60.0  # grey levels between a character and what is around it
_MIN_HEIGHT_PX, _MAX_HEIGHT_FRACTION = 7, 0.08
_MAX_WIDTH = 3.0  # heights
_MIN_CHARACTERS = 4
_EDGE_SLACK_PX = 1
_MAX_GAP = 6.0  # heights between characters or ticks of one line
_MIN_BAR_FRACTION = 0.04  # of the width
_LABEL_REACH = 1.5  # heights of a character between a bar and its label
_MIN_BAR_ASPECT, _MIN_BAR_FILL = 8, 0.95
_MIN_LINE_PX, _MIN_LINE_FRACTION = 40, 0.05  # length, also of the width of the frame
_MAX_LINE_WIDTH_PX, _MAX_LINE_GAP_PX = 7, 3
_MAX_THIN_FRACTION = 0.03  # of the frame; more is noise that clips
_MAX_LINES = 200
_MAX_CLIPPED = 0.33  # of the frame; clipping makes drawn lines of edges that charge
_LINE_SIDES_PX = (5, 6, 7, 8, 9)  # from the middle of a line
_LINE_CONTRAST = 40.0
_MIN_LINE_PURE, _MIN_LINE_APART, _MIN_LINE_EVEN = 0.9, 0.7, 0.65  # of its length
_EVEN_PX = 0.75
_STRIP_ROWS, _STRIP_OVERLAP = 2048, 256
_NEAR = np.ones((3, 3), np.uint8)


class Box(NamedTuple):
    """Rows and columns of a drawing, the last ones excluded."""

    first_row: int
    stop_row: int
    first_column: int
    stop_column: int


def find_annotations(image_yx: NDArray[np.uint8]) -> list[Box]:
    """Find drawn lines of characters, rows of ticks, bars and straight lines in a frame ``(H, W)``.

    Returns
    -------
    list of Box
        Their bounding boxes, from top to bottom; those in the overlap of two strips may repeat.
    """
    height = image_yx.shape[0]
    boxes: list[Box] = []
    is_clipped = np.isin(image_yx, (_DARK, _BRIGHT)).mean() > _MAX_CLIPPED
    for start in range(0, max(height - _STRIP_OVERLAP, 1), _STRIP_ROWS - _STRIP_OVERLAP):
        strip_yx = image_yx[start : start + _STRIP_ROWS]
        for bright_yx in (strip_yx, _BRIGHT - strip_yx):
            characters = _find_drawn(bright_yx, _MAX_HEIGHT_FRACTION * height)
            straight = () if is_clipped else _find_straight(bright_yx)
            for x, y, width, rows in (*characters, *straight):
                boxes.append(Box(start + y, start + y + rows, x, x + width))
    return sorted(boxes)


def _find_drawn(bright_yx: NDArray[np.uint8], max_height_px: float) -> Iterator[tuple[int, ...]]:
    """Boxes (x, y, width, height) of lines of characters and of bars, bright on dark."""
    drawn_yx = (bright_yx >= _BRIGHT - _LEVEL).astype(np.uint8)
    _, labels_yx, stats, _ = cv2.connectedComponentsWithStats(drawn_yx, connectivity=8)

    def keep_drawn(rows: NDArray[np.intp]) -> NDArray[np.intp]:
        return rows[[_is_drawn(bright_yx, labels_yx, row, stats[row]) for row in rows]]

    x, y, width, height, area = stats.T
    inside = (x > 0) & (y > 0) & (x + width < bright_yx.shape[1]) & (y + height < len(bright_yx))
    sized = (height >= _MIN_HEIGHT_PX) & (height <= max_height_px) & (width <= _MAX_WIDTH * height)
    sized &= inside
    for line in _find_lines(stats, np.flatnonzero(sized)):
        # aligned by chance, most of them: only now is it worth looking at the pixels
        for part in _find_lines(stats, keep_drawn(line)):
            yield _bound(stats[part])
    is_bar = (width >= _MIN_BAR_FRACTION * bright_yx.shape[1]) & (width >= _MIN_BAR_ASPECT * height)
    is_bar &= inside & (height > 1) & (area >= _MIN_BAR_FILL * width * height)
    for bar in keep_drawn(np.flatnonzero(is_bar)):
        apart = np.maximum(y - (y[bar] + height[bar]), y[bar] - (y + height))
        beside = abs(x + width / 2 - (x[bar] + width[bar] / 2)) <= width[bar]
        label = keep_drawn(np.flatnonzero(sized & beside & (apart <= _LABEL_REACH * height)))
        yield _bound(stats[[bar, *label]])


def _find_straight(bright_yx: NDArray[np.uint8]) -> Iterator[tuple[int, ...]]:
    """Boxes (x, y, width, height) of straight thin lines, bright on dark: also those of arrows."""
    top = int(bright_yx.max())
    if top < _BRIGHT - _LEVEL:
        return
    pure_yx = (bright_yx >= top - _PURE).astype(np.uint8)
    square_yx = np.ones((_MAX_LINE_WIDTH_PX, _MAX_LINE_WIDTH_PX), np.uint8)
    thick_yx = cv2.dilate(cv2.morphologyEx(pure_yx, cv2.MORPH_OPEN, square_yx), _NEAR)
    thin_yx = cv2.subtract(pure_yx, thick_yx)
    if thin_yx.mean() > _MAX_THIN_FRACTION:
        return
    length_px = max(_MIN_LINE_PX, int(_MIN_LINE_FRACTION * bright_yx.shape[1]))
    found = cv2.HoughLinesP(
        thin_yx, 1, np.pi / 180, int(0.8 * length_px),
        minLineLength=length_px, maxLineGap=_MAX_LINE_GAP_PX,
    )  # fmt: skip
    for ends in [] if found is None else found.reshape(-1, 2, 2)[:_MAX_LINES]:
        if _is_line(bright_yx, ends.astype(np.float32), top - _PURE):
            (x, y), (right, bottom) = ends.min(axis=0), ends.max(axis=0)
            yield int(x), int(y), int(right - x) + 1, int(bottom - y) + 1


def _is_line(bright_yx: NDArray[np.uint8], ends_xy: NDArray[np.float32], pure: int) -> bool:
    """Whether what lies between two points is pure, stands out on both sides, and is even."""
    along_xy = ends_xy[1] - ends_xy[0]
    length_px = float(np.hypot(*along_xy))
    places = np.linspace(0, 1, int(length_px) + 1, dtype=np.float32)[:, None]
    points_xy = ends_xy[0] + places * along_xy
    across_xy = np.array([-along_xy[1], along_xy[0]]) / length_px

    def look(distances_px: NDArray[np.floating], grey_yx: NDArray[np.uint8]) -> NDArray[np.float32]:
        x, y = np.moveaxis(points_xy + distances_px[:, None, None] * across_xy, -1, 0)
        grey = cv2.remap(
            grey_yx, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return np.asarray(grey, np.float32)

    core = look(np.zeros(1), cv2.dilate(bright_yx, _NEAR))[0]
    sides = np.array(_LINE_SIDES_PX)
    beside = np.maximum(*(np.median(look(side * sides, bright_yx), axis=0) for side in (-1, 1)))
    is_apart = core - beside > _LINE_CONTRAST
    profile = look(np.arange(-_MAX_LINE_WIDTH_PX + 1, _MAX_LINE_WIDTH_PX, 0.5), bright_yx)
    width_px = ((profile > (core + beside) / 2).sum(axis=0) / 2)[is_apart]
    if is_apart.mean() < _MIN_LINE_APART or (core >= pure - _PURE).mean() < _MIN_LINE_PURE:
        return False
    return bool((abs(width_px - np.median(width_px)) <= _EVEN_PX).mean() >= _MIN_LINE_EVEN)


def _bound(stats: NDArray[np.int32]) -> tuple[int, int, int, int]:
    x, y = int(stats[:, 0].min()), int(stats[:, 1].min())
    right = int((stats[:, 0] + stats[:, 2]).max())
    return x, y, right - x, int((stats[:, 1] + stats[:, 3]).max()) - y


def _is_drawn(
    bright_yx: NDArray[np.uint8],
    labels_yx: NDArray[np.int32],
    label: int,
    box: NDArray[np.int32],
) -> bool:
    """Whether a component is of one grey value and stands out from what is around it."""
    x, y, width, height = (int(value) for value in box[:4])
    window = np.s_[max(y - 3, 0) : y + height + 3, max(x - 3, 0) : x + width + 3]
    grey_yx, body_yx = bright_yx[window], (labels_yx[window] == label).astype(np.uint8)
    values = grey_yx[body_yx > 0]
    if (values >= int(values.max()) - _PURE).mean() < _MIN_PURE_FRACTION:
        return False
    near_yx = cv2.dilate(body_yx, _NEAR)
    around = grey_yx[(cv2.dilate(near_yx, _NEAR) > 0) & (near_yx == 0)]
    contrast = float(values.max()) - float(np.percentile(around, 75)) if around.size else 0.0
    return contrast >= _MIN_CONTRAST


def _find_lines(stats: NDArray[np.int32], rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Group components that share both edges to a pixel and stand close; yields whole lines."""
    tops, bottoms = stats[rows, 1], stats[rows, 1] + stats[rows, 3]
    left = _count_alike(tops, bottoms) >= _MIN_CHARACTERS
    for seed in np.flatnonzero(left):
        if not left[seed]:
            continue
        same_top = abs(tops - tops[seed]) <= _EDGE_SLACK_PX
        alike = rows[left & same_top & (abs(bottoms - bottoms[seed]) <= _EDGE_SLACK_PX)]
        alike = alike[np.argsort(stats[alike, 0])]
        gaps = stats[alike[1:], 0] - (stats[alike[:-1], 0] + stats[alike[:-1], 2])
        for part in np.split(alike, np.flatnonzero(gaps > _MAX_GAP * stats[rows[seed], 3]) + 1):
            if len(part) >= _MIN_CHARACTERS:
                left &= ~np.isin(rows, part)
                yield part


def _count_alike(tops: NDArray[np.int32], bottoms: NDArray[np.int32]) -> NDArray[np.floating]:
    """Count the components, ``(N,)``, that share both edges of each to a pixel."""
    if not len(tops):
        return np.zeros(0)
    counts = np.zeros((int(tops.max()) + 1, int((bottoms - tops).max()) + 1), np.float32)
    np.add.at(counts, (tops, bottoms - tops), 1)
    reach = 2 * _EDGE_SLACK_PX + 1
    near = cv2.boxFilter(  # a shift of one edge changes the height by as much
        counts, -1, (2 * reach - 1, reach), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    return np.asarray(near[tops, bottoms - tops])
