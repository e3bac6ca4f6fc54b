"""Which grey values of deep files become black and white.

A file says what its white is (8 bit, packed 12 bit), or it does not: 12 bits in a 16-bit container,
floating point. Then all frames of one instrument that a run reads decide together, and each is
mapped alike, so that frames keep their exposure relative to each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.sem.io.banner import find_banner
from ncm_kedro.sem.io.decoding import Raster

RANGE_GUESSED, RANGE_UNDERUSED = "grey_range_guessed", "grey_range_underused"

_WHITE = 255
_BIT_DEPTHS = (8, 10, 12, 14, 16)
_PERCENTILES = (0.1, 99.9)  # hot and dead pixels lie beyond
_ROUGH_PERCENTILES = (0.1, 95.0)  # text of a databar may be brighter than any image
_SLACK = 0.01  # of the range: noise and interpolation may leave it
_UNDERUSED = 1 / 8  # of the range
_SAMPLE_COLUMNS = 1024
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class GreyStatistics:
    """Lowest and highest grey value of a frame, hot and dead pixels and databar apart.

    Parameters
    ----------
    group
        Frames of one group share one range: the type of number (``uint16``, ``float``; ``unit`` for
        0 to 1), and the instrument.
    """

    group: str
    low: float
    high: float


@dataclass(frozen=True)
class GreyRange:
    """Values that become black and white.

    Parameters
    ----------
    is_guessed
        Whether they are the frames' own extremes instead of a detector's range.
    """

    black: float
    white: float
    is_guessed: bool = False


def summarise_grey(raster: Raster) -> GreyStatistics | None:
    """Summarise a frame's grey values for `decide_ranges`; None if the file says its range."""
    if raster.white is not None:
        return None
    sample_yx = raster.grey_yx[:, :: -(-raster.grey_yx.shape[1] // _SAMPLE_COLUMNS)]
    low, high = np.percentile(sample_yx, _ROUGH_PERCENTILES)
    rough_yx = _scale(sample_yx, GreyRange(float(low), float(high)))
    banner = find_banner(rough_yx)
    low, high = np.percentile(
        np.delete(sample_yx, np.s_[banner.first_row : banner.stop_row], axis=0), _PERCENTILES
    )
    kind = "float" if raster.grey_yx.dtype.kind == "f" else raster.grey_yx.dtype.name
    if kind == "float" and low >= -_SLACK and high <= 1 + _SLACK:
        return GreyStatistics("unit", float(low), float(high))
    return GreyStatistics(f"{kind} {raster.instrument}", float(low), float(high))


def decide_ranges(
    statistics: Iterable[GreyStatistics], bit_depth: int | None
) -> dict[str, GreyRange]:
    """Decide what is black and white in each group of frames.

    Integers range over the smallest of 8, 10, 12, 14 and 16 bits that holds them, floating point
    over 0-1 or 0-255; anything else over what the group's frames hold, which is a guess.

    Parameters
    ----------
    bit_depth
        Bits of the detector if the user knows, None otherwise.
    """
    extremes: dict[str, list[float]] = defaultdict(list)
    for entry in statistics:
        extremes[entry.group] += [entry.low, entry.high]
    return {
        group: _decide_range(group.partition(" ")[0], min(values), max(values), bit_depth)
        for group, values in extremes.items()
    }


def _decide_range(kind: str, low: float, high: float, bit_depth: int | None) -> GreyRange:
    if kind == "unit":
        return GreyRange(0.0, 1.0)
    is_positive = low >= -_SLACK * high
    if kind != "float" and is_positive:
        depths = [bit_depth] if bit_depth else [d for d in _BIT_DEPTHS if high < 2**d]
        if depths:
            return GreyRange(0.0, 2.0 ** depths[0] - 1)
    if kind == "float" and is_positive and high <= 255 * (1 + _SLACK):
        return GreyRange(0.0, 255.0)
    return GreyRange(low, high, is_guessed=True)


def map_grey(
    raster: Raster, ranges: Mapping[str, GreyRange] | None, bit_depth: int | None
) -> tuple[NDArray[np.uint8], set[str]]:
    """Map a frame's grey values to 0-255, black to white.

    Parameters
    ----------
    ranges
        Ranges of the run's groups, None for a frame that is read by itself.

    Returns
    -------
    image_yx, flags
        ``(H, W)`` uint8, and what was noticed.
    """
    flags = set(raster.flags)
    span = GreyRange(0.0, raster.white or 0.0)
    if (entry := summarise_grey(raster)) is not None:
        alone = decide_ranges([entry], bit_depth)
        span = (ranges or alone).get(entry.group, alone[entry.group])
        is_sure = ranges is not None or bit_depth or entry.group == "unit"
        if span.is_guessed or not is_sure:
            flags.add(RANGE_GUESSED)
        if entry.high - span.black < _UNDERUSED * (span.white - span.black):
            flags.add(RANGE_UNDERUSED)
    is_ready = raster.grey_yx.dtype == np.uint8 and span.white == _WHITE
    image_yx = raster.grey_yx if is_ready else _scale(raster.grey_yx, span)
    return (_WHITE - image_yx if raster.is_inverted else image_yx), flags


def _scale(values_yx: NDArray[Any], span: GreyRange) -> NDArray[np.uint8]:
    scaled_yx = np.empty(values_yx.shape, np.uint8)
    factor = 255 / (span.white - span.black) if span.white > span.black else 0.0
    for row in range(0, len(values_yx), _ROWS_AT_ONCE):  # a frame may take a gigabyte
        part_yx = (values_yx[row : row + _ROWS_AT_ONCE] - np.float64(span.black)) * factor
        scaled_yx[row : row + _ROWS_AT_ONCE] = np.rint(part_yx).clip(0, 255)
    return scaled_yx
