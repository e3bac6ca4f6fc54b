"""From a raw file to a grey frame without banner, with its pixel size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import FrameError
from ncm_kedro.params.sem_ingest import LabelParams, ReadingParams
from ncm_kedro.sem.io.banner import decode_image, measure_banner
from ncm_kedro.sem.io.frames import (
    DecodedFrame,
    DecodedFrames,
    FrameRecord,
    LabelledFrame,
    RawFrames,
    label_frames,
)
from ncm_kedro.sem.io.scale_bar import PixelSize, find_pixel_size
from ncm_kedro.sem.io.sidecar import Sidecar, describe_sidecar, parse_moment, read_sidecar

BANNER_MISSING = "banner_missing"
DECODER_VERSION = 1  # raise it when the same file and parameters would give another frame


@dataclass(frozen=True)
class Micrograph:
    """A frame without its banner.

    Parameters
    ----------
    image_yx
        Grey values, ``(H, W)`` uint8, banner cut.
    banner_px
        Rows that were cut.
    pixel_size
        Edge length of a pixel and where it is known from.
    sidecar
        The vendor's text file, empty without one.
    flags
        What was noticed, sorted.
    """

    image_yx: NDArray[np.uint8]
    banner_px: int
    pixel_size: PixelSize
    sidecar: Sidecar
    flags: tuple[str, ...]


def plan_decoding(raw: RawFrames, labels: LabelParams, reading: ReadingParams) -> DecodedFrames:
    """Label raw files and say how they are to be decoded; decodes nothing yet.

    Parameters
    ----------
    raw
        Listing of the raw folder.
    labels
        Classes that are known.
    reading
        How a file becomes a frame.

    Returns
    -------
    DecodedFrames
        What a frame store saves.

    Raises
    ------
    NcmError
        If no file has a known class.
    """
    frames, rejections = label_frames(raw, labels)
    settings = f"{DECODER_VERSION}\n{reading.model_dump_json()}"
    return DecodedFrames(
        frames,
        rejections,
        decode=lambda frame: decode_frame(frame, reading),
        reading_digest=blake2b(settings.encode(), digest_size=16).hexdigest(),
    )


def decode_frame(frame: LabelledFrame, params: ReadingParams) -> DecodedFrame:
    """Decode a frame, cut its banner and find its pixel size.

    Parameters
    ----------
    frame
        Record with class and identity.
    params
        How a file becomes a frame.

    Returns
    -------
    DecodedFrame
        Grey values and what is known about them; ``height_px`` and ``width_px`` are those of the
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
    )
    height_px, width_px = micrograph.image_yx.shape
    attributes = {
        "file": record.file,
        "class": frame.label.name,
        "composition": frame.label.composition,
        "state": frame.label.state,
        "additive": frame.label.additive,
        **describe_sidecar(micrograph.sidecar),
        **_read_settings(record),
        "height_px": height_px,
        "width_px": width_px,
        "banner_px": micrograph.banner_px,
        "pixel_size_um": micrograph.pixel_size.value_um,
        "pixel_size_source": micrograph.pixel_size.source,
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
) -> Micrograph:
    """Decode an image file, cut its banner and find its pixel size.

    Parameters
    ----------
    data
        Content of the image file.
    params
        How a file becomes a frame.
    where
        Name of the file for messages.
    sidecar_data
        Content of the sidecar, None without one.
    pixel_size_um
        Pixel size that a frame table gives (um), None without one.

    Returns
    -------
    Micrograph
        The frame and what is known about it.

    Raises
    ------
    FrameError
        If the file is no image, is damaged or too small, or has no pixel size.
    """
    whole_yx = decode_image(data, where)
    banner_px = measure_banner(whole_yx, params.banner)
    cut = whole_yx.shape[0] - banner_px
    _check_size(whole_yx[:cut], params.min_size_px, where)
    sidecar = read_sidecar(sidecar_data)
    pixel_size = find_pixel_size(
        whole_yx[cut:], sidecar, pixel_size_um, params.pixel_size, where=where
    )
    noticed = {*sidecar.flags, *pixel_size.flags, *(() if banner_px else (BANNER_MISSING,))}
    return Micrograph(whole_yx[:cut], banner_px, pixel_size, sidecar, tuple(sorted(noticed)))


def _check_size(image_yx: NDArray[np.uint8], min_size_px: int, where: str) -> None:
    height, width = image_yx.shape
    if min(height, width) < min_size_px:
        raise FrameError(
            where,
            found=f"an image of {width} x {height} px (banner cut)",
            expected=f"at least {min_size_px} x {min_size_px} px",
            action="remove it, or lower reading.min_size_px",
        )


def _read_settings(record: FrameRecord) -> Mapping[str, object]:
    known: dict[str, object] = {}
    for key in ("magnification", "accelerating_voltage_kv"):
        if (value := _number(record, key)) is not None:
            known[key] = value
    if instrument := record.settings.get("instrument"):
        known["instrument"] = instrument
    if text := record.settings.get("acquired_at"):
        known["acquired_at"] = _moment(record, text).isoformat()
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


def _moment(record: FrameRecord, text: str) -> datetime:
    moment = parse_moment(text)
    if moment is None:
        raise _bad_setting(record, "acquired_at", text, "a date such as 2019-09-02 00:09:36")
    return moment


def _bad_setting(record: FrameRecord, key: str, text: str, expected: str) -> FrameError:
    return FrameError(
        f"frames.csv, row of {record.file}",
        found=f"'{text}' in column {key}",
        expected=expected,
        action="correct the cell, or leave it empty",
    )
