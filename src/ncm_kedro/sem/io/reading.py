"""From a raw file to an 8-bit grey frame without banner, with its pixel size."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import FrameError
from ncm_kedro.params.sem_ingest import LabelParams, ReadingParams
from ncm_kedro.sem.io.banner import (
    ANNOTATED,
    ANNOTATED_INSIDE,
    Banner,
    cut_annotations,
    find_bars,
)
from ncm_kedro.sem.io.decoding import COLOURED, decode_image, needs_range
from ncm_kedro.sem.io.frames import (
    DecodedFrame,
    DecodedFrames,
    FrameRecord,
    LabelledFrame,
    RawFrames,
)
from ncm_kedro.sem.io.grey_range import (
    GreyRange,
    GreyStatistics,
    decide_ranges,
    map_grey,
    summarise_grey,
)
from ncm_kedro.sem.io.labels import label_frames
from ncm_kedro.sem.io.metadata import read_embedded
from ncm_kedro.sem.io.pixel_size import KnownSizes, PixelSize, find_pixel_size
from ncm_kedro.sem.io.scale_bar import read_scale_bar
from ncm_kedro.sem.io.sidecar import MISSING, Sidecar, describe_sidecar, read_sidecar
from ncm_kedro.units import parse_moment

BANNER_MISSING, BANNER_UNSURE = "banner_missing", "banner_unsure"
DECODER_VERSION = 7  # raise it when the same file and parameters would give another frame
_COLOUR, _MIN_COLOURED_PX = 40, 20  # levels from grey; a short line of a drawing

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Micrograph:
    """A frame without its banner.

    Parameters
    ----------
    image_yx
        Grey values, ``(H, W)`` uint8, banner and annotations at the edges cut.
    banner_px
        Rows of the banner.
    pixel_size
        Edge length of a pixel and where it is known from.
    sidecar, embedded
        What the instrument wrote beside the image and into its file, empty without.
    flags
        What was noticed, sorted.
    """

    image_yx: NDArray[np.uint8]
    banner_px: int
    pixel_size: PixelSize
    sidecar: Sidecar
    embedded: Sidecar
    flags: tuple[str, ...]


def plan_decoding(raw: RawFrames, labels: LabelParams, reading: ReadingParams) -> DecodedFrames:
    """Label raw files and say how they are to be decoded.

    Decodes nothing yet but frames whose files do not say what their white is: those decide
    together (`sem.io.grey_range`), and the decision is part of the digest.

    Raises
    ------
    NcmError
        If no file has a known class.
    """
    frames, rejections = label_frames(raw, labels)
    ranges = find_ranges((frame.record for frame in frames), reading)
    settings = f"{DECODER_VERSION}\n{reading.model_dump_json()}\n{sorted(ranges.items())}"
    return DecodedFrames(
        frames,
        rejections,
        decode=lambda frame: decode_frame(frame, reading, ranges),
        reading_digest=blake2b(settings.encode(), digest_size=16).hexdigest(),
    )


def find_ranges(records: Iterable[FrameRecord], params: ReadingParams) -> dict[str, GreyRange]:
    """Decide which grey values become black and white, together for all frames of an instrument.

    Only files deeper than 8 bits are read; one that cannot be is left to `decode_frame`.
    """
    statistics: list[GreyStatistics] = []
    for record in records:
        try:
            data = record.read_image()
            raster = decode_image(data, record.file, params) if needs_range(data) else None
        except Exception:  # noqa: BLE001, S112
            continue
        if raster is not None and (entry := summarise_grey(raster)) is not None:
            statistics.append(entry)
    ranges = decide_ranges(statistics, params.bit_depth)
    for group, span in sorted(ranges.items()):
        count = sum(entry.group == group for entry in statistics)
        guess = " (their extremes: no detector's range)" if span.is_guessed else ""
        logger.info("grey values of %d deep frames (%s): %g is black, %g is white%s",
                    count, group.strip(), span.black, span.white, guess)  # fmt: skip
    return ranges


def decode_frame(
    frame: LabelledFrame,
    params: ReadingParams,
    ranges: Mapping[str, GreyRange] | None = None,
) -> DecodedFrame:
    """Decode a frame, cut its banner and find its pixel size.

    Parameters
    ----------
    ranges
        What `find_ranges` decided for the run.

    Returns
    -------
    DecodedFrame
        Grey values and attributes; ``height_px`` and ``width_px`` are those of the
        stored frame, banner cut.

    Raises
    ------
    FrameError
        If the file is no image, is damaged or too small, or has no pixel size.
    """
    record = frame.record
    micrograph = read_micrograph(
        record.read_image(),
        params,
        where=record.file,
        sidecar_data=record.read_sidecar(),
        pixel_size_um=_number(record, "pixel_size_um"),
        magnification=_number(record, "magnification"),
        class_name=frame.label.name,
        ranges=ranges,
    )
    height_px, width_px = micrograph.image_yx.shape
    attributes = {
        "file": record.file,
        "class": frame.label.name,
        "composition": frame.label.composition,
        "state": frame.label.state,
        "additive": frame.label.additive,
        **describe_sidecar(micrograph.sidecar, micrograph.embedded),
        **_read_settings(record),
        "height_px": height_px,
        "width_px": width_px,
        "banner_px": micrograph.banner_px,
        "pixel_size_um": micrograph.pixel_size.value_um,
        "pixel_size_source": micrograph.pixel_size.source,
        "pixel_size_other_um": micrograph.pixel_size.other_um,
        "flags": list(micrograph.flags),
    }
    return DecodedFrame(micrograph.image_yx, attributes)


def read_micrograph(
    data: bytes,
    params: ReadingParams,
    *,
    where: str,
    sidecar_data: bytes | None = None,
    pixel_size_um: float | None = None,
    magnification: float | None = None,
    class_name: str = "",
    ranges: Mapping[str, GreyRange] | None = None,
) -> Micrograph:
    """Decode an image file, cut its banner and what is drawn at its edges, find its pixel size.

    Parameters
    ----------
    sidecar_data
        Content of the sidecar, None without one.
    pixel_size_um, magnification
        Pixel size (um) and magnification that a frame table gives, None without.
    class_name
        Class, for a fallback of the pixel size by class.
    ranges
        What `find_ranges` decided for the run; None for a frame that is read by itself.

    Raises
    ------
    FrameError
        If the file is no image, is damaged or too small, or has no pixel size.
    """
    raster = decode_image(data, where, params)
    whole_yx, noticed = map_grey(raster, ranges, params.bit_depth)
    bars = find_bars(whole_yx)
    rows = slice(
        max((bar.stop_row for bar in bars if bar.first_row == 0), default=0),
        min((bar.first_row for bar in bars if bar.first_row > 0), default=whole_yx.shape[0]),
    )
    banner = bars[0] if bars else Banner(0, 0, "none")
    if banner.status != "found":
        noticed.add(BANNER_UNSURE if banner.status == "unsure" else BANNER_MISSING)
    if raster.chroma_yx is not None and _has_colour(raster.chroma_yx[rows]):
        noticed.add(COLOURED)
    banner_px = whole_yx.shape[0] - (rows.stop - rows.start)
    part, flags = cut_annotations(whole_yx[rows])
    image_yx = whole_yx[rows][part]
    _check_size(image_yx, params.min_size_px, where)
    sidecar, embedded = read_sidecar(sidecar_data), read_embedded(data)
    known = KnownSizes(sidecar, embedded, pixel_size_um, magnification, class_name)
    databars = [slice(bar.first_row, bar.stop_row) for bar in bars]
    pixel_size = find_pixel_size(whole_yx, databars, known, params.pixel_size, where)
    noticed |= {*sidecar.flags, *pixel_size.flags, *flags}
    if not bars and read_scale_bar(image_yx, []) is not None:
        noticed |= {ANNOTATED, ANNOTATED_INSIDE}  # a scale bar is still in what is left
    noticed -= {MISSING} if embedded.sections else set()
    return Micrograph(image_yx, banner_px, pixel_size, sidecar, embedded, tuple(sorted(noticed)))


def _has_colour(chroma_yx: NDArray[np.uint8]) -> bool:
    """Whether something is drawn in colour, or the frame is coloured as a whole."""
    return int((chroma_yx > _COLOUR).sum()) >= _MIN_COLOURED_PX


def _check_size(image_yx: NDArray[np.uint8], min_size_px: int, where: str) -> None:
    height, width = image_yx.shape
    if min(height, width) < min_size_px:
        raise FrameError(
            where,
            found=f"an image of {width} x {height} px (banner cut)",
            expected=f"at least {min_size_px} x {min_size_px} px",
            action="remove it, or lower sem_ingest.reading.min_size_px in conf/local/"
            "parameters.yml",
        )


def _read_settings(record: FrameRecord) -> Mapping[str, object]:
    known: dict[str, object] = {}
    for key in ("magnification", "accelerating_voltage_kv"):
        if (value := _number(record, key)) is not None:
            known[key] = value
    if instrument := record.settings.get("instrument"):
        known["instrument"] = instrument
    if text := record.settings.get("acquired_at"):
        if (moment := parse_moment(text)) is None:
            expected = "a date such as 2019-09-02 00:09:36"
            raise _bad_setting(record, "acquired_at", text, expected)
        known["acquired_at"] = moment.isoformat()
    return known


def _number(record: FrameRecord, key: str) -> float | None:
    text = record.settings.get(key)
    if not text:
        return None
    try:
        value = float(text.lstrip("xX"))
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise _bad_setting(record, key, text, "a number above 0")
    return value


def _bad_setting(record: FrameRecord, key: str, text: str, expected: str) -> FrameError:
    return FrameError(
        f"frames.csv, row of {record.file}",
        found=f"'{text}' in column {key}",
        expected=expected,
        action="correct the cell, or leave it empty",
    )
