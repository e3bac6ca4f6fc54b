"""The databar at the top or bottom of a frame: its rows and its background.

A databar is drawn, not recorded: its rows are of one grey value and print, its first row is
clean or a rule, and the grey value sets in from one row to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.sem.io.annotations import find_annotations

ANNOTATED, ANNOTATED_INSIDE = "annotated", "annotated_inside"
Status = Literal["found", "none", "unsure"]

_MAX_HEIGHT_FRACTION = 0.3  # of the frame
_MIN_HEIGHT_PX = 10
_REACHES = (1, 3, 12, 24)  # grey levels from the background: exact, and beside print in a JPEG
_TIGHT = 1  # index of the reach of rows without print
_INK_DISTANCE = 60  # grey levels between text and background
_MIN_OF_ROW = 0.25  # of background in each row of a databar: print and logos may fill the rest
_MIN_BESIDE_INK = 0.1  # of background in rows with next to nothing but one other grey
_MIN_BACKGROUND = 0.5  # of background in the row in the middle
_CLEAN = 0.9  # of background in the cleanest row; of one other grey in a rule
_MIN_STEP = 0.35  # of a row: background that the first row has more than those beside it
_BESIDE_ROWS = 3
_RECORDED = 0.75  # of a recorded row that is of one grey, at most
_MAX_RULE_PX = 4
_MAX_GAP_PX = 2  # rows inside without background
_FAR = 10**6  # a level that no row has
_EDGE_ROWS, _EDGE_FRACTION = 4, 0.01  # recorded rows that may lie beyond the frame line
_BLEND_ROWS, _MIN_BLEND = 16, 4.0  # rows; grey levels between the means of two recorded rows
_ANNOTATED_FRACTION, _MARGIN_PX = 0.2, 3  # of the frame; rows beside what is drawn


@dataclass(frozen=True)
class Banner:
    """The databar of a frame.

    Parameters
    ----------
    first_row, stop_row
        Its rows in the frame, the last one excluded; it reaches to the top or the bottom. Both 0
        without one.
    status
        ``found``, ``none``, or ``unsure``: rows that are drawn, but whose extent, or whether they
        are a databar, cannot be told.
    """

    first_row: int
    stop_row: int
    status: Status

    @property
    def height_px(self) -> int:
        """Rows that it takes."""
        return self.stop_row - self.first_row


def find_banner(image_yx: NDArray[np.uint8]) -> Banner:
    """Find the databar of a frame ``(H, W)``; the surer, then the larger one of two."""
    bars = find_bars(image_yx)
    return bars[0] if bars else Banner(0, 0, "none")


def find_bars(image_yx: NDArray[np.uint8]) -> list[Banner]:
    """Find what is drawn at the bottom and at the top of a frame ``(H, W)``, as `find_banner`."""
    height = image_yx.shape[0]
    (below, below_is), (above, above_is) = map(_measure_edge, (image_yx, image_yx[::-1]))
    bars = [Banner(height - below, height, below_is), Banner(0, above, above_is)]
    found = [bar for bar in bars if bar.height_px]
    return sorted(found, key=lambda bar: (bar.status, -bar.height_px))


def cut_annotations(image_yx: NDArray[np.uint8]) -> tuple[slice, tuple[str, ...]]:
    """Rows of an image ``(H, W)``, databar cut, that are left without what is drawn at its edges.

    Returns
    -------
    rows, flags
        ``annotated`` if something was drawn into the image, ``annotated_inside`` if it is also in
        the rows that are left.
    """
    height = image_yx.shape[0]
    reach_px = _ANNOTATED_FRACTION * height
    first, stop, flags = 0, height, set[str]()
    for box in find_annotations(image_yx):
        flags.add(ANNOTATED)
        if box.first_row >= height - reach_px:
            stop = min(stop, box.first_row - _MARGIN_PX)
        elif box.stop_row <= reach_px:
            first = max(first, box.stop_row + _MARGIN_PX)
        else:
            flags.add(ANNOTATED_INSIDE)
    return slice(first, stop), tuple(sorted(flags))


def _measure_edge(image_yx: NDArray[np.uint8]) -> tuple[int, Status]:
    """Rows at the bottom that are a databar, and how sure that is."""
    height = image_yx.shape[0]
    lowest_yx = image_yx[height - max(1, round(height * _MAX_HEIGHT_FRACTION)) :]
    shares = _count_levels(lowest_yx, _REACHES)
    tight_yb, wide_yb = shares[_TIGHT], shares[-1]
    best: tuple[int, Status] = (0, "none")
    uniform_y = tight_yb.max(axis=1)
    for level in _list_levels(tight_yb.argmax(axis=1)[uniform_y >= _MIN_BACKGROUND]):
        if wide_yb[-_MIN_HEIGHT_PX:, level].max() < _MIN_BACKGROUND:
            continue
        is_other_b = abs(np.arange(256) - level) > 2 * _REACHES[-1]
        others_yb = np.where(is_other_b, wide_yb, 0)
        is_rule = _find_rules(others_yb, lowest_yx.mean(axis=1))
        # a scale bar may fill most of a row
        is_drawn = wide_yb[:, level] + others_yb.max(axis=1) >= _RECORDED
        is_drawn &= wide_yb[:, level] >= _MIN_BESIDE_INK
        is_apart = (wide_yb[:, level] <= _RECORDED) | (uniform_y <= _RECORDED)
        bars = [
            _find_top(share_yb[:, level], is_rule, is_drawn, is_apart, height)
            for share_yb in shares
        ]
        top, is_sharp = min(bars, key=lambda bar: (not bar[1], bar[0]))
        if len(lowest_yx) - top < _MIN_HEIGHT_PX:
            continue
        # print leaves less of the background in a small JPEG; a rule or a clean onset vouches
        is_vouched = is_sharp and (is_rule[top] or _sets_in_at_once(wide_yb[:, level], top))
        seen_y = (wide_yb if is_vouched else tight_yb)[top:, level]
        other_y = np.where(is_other_b, tight_yb[top:], 0).max(axis=1)  # a logo on its own ground
        is_clean = seen_y.max() >= _RECORDED or (tight_yb[top:, level] + other_y).max() >= _CLEAN
        if not is_clean or np.median(seen_y) < _MIN_BACKGROUND:
            continue
        top = _take_in_blend(lowest_yx, top) if is_sharp else top
        band_yx = lowest_yx[top:]
        has_ink = (abs(band_yx.astype(np.int16) - level) > _INK_DISTANCE).sum(axis=1).max() > 1
        if is_sharp and has_ink:
            return len(band_yx), "found"
        if is_sharp or (has_ink and find_annotations(band_yx)):
            best = max(best, (len(band_yx), "unsure"))
    return best


def _count_levels(
    rows_yx: NDArray[np.uint8], reaches: tuple[int, ...]
) -> list[NDArray[np.floating]]:
    """Fraction of each row, ``(rows, 256)``, that lies within each reach of each grey level."""
    width = rows_yx.shape[1]
    counts_yb = np.stack([np.bincount(row, minlength=256) for row in rows_yx]) / width
    largest = max(reaches)
    sums = np.pad(counts_yb, ((0, 0), (largest + 1, largest))).cumsum(axis=1)
    return [
        sums[:, largest + 1 + reach : largest + 257 + reach]
        - sums[:, largest - reach : largest + 256 - reach]
        for reach in reaches
    ]


def _list_levels(levels: NDArray[np.intp]) -> list[int]:
    """Grey levels that many rows consist of, the most frequent first."""
    found, counts = np.unique(levels, return_counts=True)
    listed: list[int] = []
    for level in found[np.argsort(-counts, kind="stable")]:
        if all(abs(int(level) - other) > 2 * _TIGHT for other in listed):
            listed.append(int(level))
    return listed[:4]


def _find_top(
    share_y: NDArray[np.floating],
    is_rule: NDArray[np.bool_],
    is_drawn: NDArray[np.bool_],
    is_apart: NDArray[np.bool_],
    height: int,
) -> tuple[int, bool]:
    """First row of a databar of one background, and whether it sets in from one row to the next.

    Parameters
    ----------
    share_y
        Fraction of background in each row.
    is_rule, is_drawn, is_apart
        Rows of one other grey; of background and one other grey; not of nearly the background.
    height
        Rows of the frame.
    """
    stop = len(share_y)
    belongs = (share_y >= _MIN_OF_ROW) | is_rule | is_drawn
    last = stop - 1
    beyond = max(_EDGE_ROWS, round(_EDGE_FRACTION * height))
    while last > stop - 1 - beyond and not belongs[last]:
        last -= 1
    first, gap = last + 1, 0
    for row in range(last, -1, -1):
        gap = 0 if belongs[row] else gap + 1
        if gap > _MAX_GAP_PX:
            break
        first = row if belongs[row] else first
    clear_y = np.where(is_rule, 1.0, share_y)
    for row in range(max(first, 1), last - _MIN_HEIGHT_PX + 2):
        beside = clear_y[max(row - _BESIDE_ROWS, 0) : row].max()
        sets_in = clear_y[row : row + 2].min() - beside >= _MIN_STEP and is_apart[row - 1]
        if sets_in or is_rule[row]:
            return row, True
    return first, False


def _sets_in_at_once(share_y: NDArray[np.floating], top: int) -> bool:
    """Whether two rows are all background, and those above have next to none of it."""
    above_y = share_y[max(top - _BESIDE_ROWS, 0) : max(top - 1, 1)]
    return bool(share_y[top : top + 2].min() >= _CLEAN and above_y.max() <= 1 - _CLEAN)


def _find_rules(share_yb: NDArray[np.floating], mean_y: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Lines across the frame: a few rows of one grey level that the row above does not have."""
    level_y = np.where(share_yb.max(axis=1) >= _CLEAN, share_yb.argmax(axis=1), -_FAR)
    starts = np.flatnonzero(np.abs(np.diff(level_y, prepend=_FAR)) > _REACHES[-1])
    lengths = np.diff(np.append(starts, len(level_y)))
    above = np.concatenate([[_FAR], mean_y[:-1]])[starts]
    is_line = (lengths <= _MAX_RULE_PX) & (abs(above - level_y[starts]) > 2 * _REACHES[-1])
    return np.asarray(np.repeat(is_line, lengths) & (level_y >= 0))


def _take_in_blend(lowest_yx: NDArray[np.uint8], top: int) -> int:
    """Move the first row up over those that resampling has blended with the image."""
    mean_y = lowest_yx[max(top - _BLEND_ROWS, 0) : top].mean(axis=1)
    usual = float(np.abs(np.diff(mean_y[:-2])).max(initial=_MIN_BLEND))
    for _ in range(2):
        blended = len(mean_y) > 2 and abs(mean_y[-1] - mean_y[-2]) > 2 * usual
        top, mean_y = (top - 1, mean_y[:-1]) if blended else (top, mean_y)
    return top
