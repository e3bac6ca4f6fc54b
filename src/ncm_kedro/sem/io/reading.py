"""From a raw file to an 8-bit grey frame without banner, with its pixel size."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ncm_kedro.errors import FrameError
from ncm_kedro.params.sem_ingest import LabelParams, ReadingParams
from ncm_kedro.sem.io.banner import measure_banner
from ncm_kedro.sem.io.dates import parse_moment
from ncm_kedro.sem.io.frames import (
    DecodedFrame,
    DecodedFrames,
    FrameRecord,
    LabelledFrame,
    RawFrames,
)
from ncm_kedro.sem.io.labels import label_frames
from ncm_kedro.sem.io.metadata import read_embedded
from ncm_kedro.sem.io.pixel_size import KnownSizes, PixelSize, find_pixel_size
from ncm_kedro.sem.io.sidecar import MISSING, Sidecar, describe_sidecar, read_sidecar

BANNER_MISSING = "banner_missing"
DECODER_VERSION = 2  # raise it when the same file and parameters would give another frame
_BIT_DEPTHS = (8, 10, 12, 14, 16)
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_WHAT_TO_DO = "copy the file again from the microscope, or remove it"


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
    """Label raw files and say how they are to be decoded; decodes nothing yet.

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
) -> Micrograph:
    """Decode an image file, cut its banner and find its pixel size.

    Parameters
    ----------
    sidecar_data
        Content of the sidecar, None without one.
    pixel_size_um, magnification
        Pixel size (um) and magnification that a frame table gives, None without.
    class_name
        Class, for a fallback of the pixel size by class.

    Raises
    ------
    FrameError
        If the file is no image, is damaged or too small, or has no pixel size.
    """
    whole_yx = decode_image(data, where)
    banner_px = measure_banner(whole_yx)
    cut = whole_yx.shape[0] - banner_px
    _check_size(whole_yx[:cut], params.min_size_px, where)
    sidecar, embedded = read_sidecar(sidecar_data), read_embedded(data)
    known = KnownSizes(sidecar, embedded, pixel_size_um, magnification, class_name)
    pixel_size = find_pixel_size(
        whole_yx, slice(cut, whole_yx.shape[0]), known, params.pixel_size, where
    )
    noticed = {*sidecar.flags, *pixel_size.flags, *(() if banner_px else (BANNER_MISSING,))}
    noticed -= {MISSING} if embedded.sections else set()
    flags = tuple(sorted(noticed))
    return Micrograph(whole_yx[:cut], banner_px, pixel_size, sidecar, embedded, flags)


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


def decode_image(data: bytes, where: str) -> NDArray[np.uint8]:
    """Decode an image file to 8-bit grey.

    JPEG is decoded straight to its luminance. Colour is weighted to luminance (ITU-R BT.601),
    transparency is dropped. Deeper images are scaled by the bit depth that they use: the smallest
    of 8, 10, 12, 14 and 16 bits that holds the largest value maps to 0-255, so that frames of one
    detector keep their exposure relative to each other instead of being stretched one by one.

    Raises
    ------
    FrameError
        If the content is empty, no image, truncated, or of a kind that is not understood.
    """
    if not data:
        raise FrameError(
            where, found="an empty file (0 bytes)", expected="an image", action=_WHAT_TO_DO
        )
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "JPEG":
                image.draft("L", None)
            image.load()
            return _to_grey(image, where)
    except Image.UnidentifiedImageError as error:
        raise FrameError(
            where,
            found=f"{len(data)} bytes that are no image (they begin with {data[:12]!r})",
            expected="a JPEG, PNG or TIFF image",
            action=_WHAT_TO_DO,
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise FrameError(
            where,
            found=f"an image that is truncated or damaged ({error})",
            expected="a complete image",
            action=_WHAT_TO_DO,
        ) from error
    except Image.DecompressionBombError as error:
        raise FrameError(
            where,
            found=f"an implausibly large image ({error})",
            expected="a single SEM frame",
            action=_WHAT_TO_DO,
        ) from error


def scale_depth(deep_yx: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Scale a deep grey image to 8 bit by the bit depth that it uses.

    Parameters
    ----------
    deep_yx
        Grey values, ``(H, W)``, 0 to 65535.

    Returns
    -------
    ndarray of uint8, (H, W)
        ``round(255 * value / (2**depth - 1))`` with the smallest fitting depth.
    """
    largest = int(deep_yx.max())
    depth = next(bits for bits in _BIT_DEPTHS if largest < 2**bits)
    scaled = deep_yx.astype(np.float32) * np.float32(255 / (2**depth - 1))
    return np.asarray(np.rint(scaled), dtype=np.uint8)


def _to_grey(image: Image.Image, where: str) -> NDArray[np.uint8]:
    if image.mode in _DEEP_MODES:
        deep_yx = np.asarray(image)
        if deep_yx.min() >= 0 and deep_yx.max() < 2**16:
            return scale_depth(deep_yx)
    elif image.mode != "F":
        grey_yx: NDArray[np.uint8] = np.array(image.convert("L"), dtype=np.uint8)
        return grey_yx
    raise FrameError(
        where,
        found=f"an image of mode '{image.mode}' with values that are not 8 or 16 bit",
        expected="8- or 16-bit grey or colour",
        action="export the frame as 8- or 16-bit TIFF or PNG",
    )
