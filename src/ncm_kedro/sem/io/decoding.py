"""From the bytes of an image file to grey values, upright, of the depth that the file has."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ncm_kedro.errors import FrameError
from ncm_kedro.params.sem_ingest import ReadingParams

COLOURED, TINTED, PAGES_DROPPED = "coloured", "tinted", "pages_dropped"

Image.MAX_IMAGE_PIXELS = None  # the limit is reading.max_megapixels

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_MAGIC, _PNG_DEPTH = b"\x89PNG\r\n\x1a\n", 24
_PHOTOMETRIC = (0, 1, 2, 3)  # min-is-white, min-is-black, RGB, palette
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_BILEVEL = "black and white only (1 bit)"
_ORIENTATION, _MAKE_TAGS = 274, (271, 272)
_VENDOR_TAGS = (34118, 34680, 34682, 50431)  # Zeiss, FEI, Thermo Fisher, TESCAN
_TAGS = {_ORIENTATION, *_MAKE_TAGS, *_VENDOR_TAGS}
# step along rows and columns, after transposing where the orientation is 5 or more
_FLIPS = {
    2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1),
}  # fmt: skip
_WHITE = 255
_SAMPLES = 1024  # along a side
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
_MAX_GREY_CHROMA = 16  # levels of the colour differences of a grey JPEG
_MIN_TINT_GREY = 48  # darker pixels have no hue
_TINT_SPREAD, _MIN_TINT_RATIO, _MIN_TINT_FRACTION = 0.06, 0.35, 0.9
_WHAT_TO_DO = "copy the file again from the microscope, or remove it"

_Grey: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Raster:
    """Pixels of a file, upright, not yet mapped to 8 bit.

    Parameters
    ----------
    grey_yx
        Grey values, ``(H, W)``, of any integer or floating-point type.
    white
        Value of white if the file says so, None if the frames of a run must tell.
    is_inverted
        Whether 0 is white.
    chroma_yx
        Distance from grey (0-255) of each pixel, None for a file without colour.
    instrument
        What the file says about who wrote it, empty if nothing.
    flags
        What was noticed.
    """

    grey_yx: _Grey
    white: float | None = float(_WHITE)
    is_inverted: bool = False
    chroma_yx: NDArray[np.uint8] | None = None
    instrument: str = ""
    flags: tuple[str, ...] = ()


def decode_image(data: bytes, where: str, params: ReadingParams) -> Raster:
    """Decode an image file.

    Colour is weighted to luminance (ITU-R BT.601) and transparency dropped. The image is turned
    as its EXIF orientation says. Of several pages the largest is used, with a flag.

    Raises
    ------
    FrameError
        If the content is empty, no image, damaged, too large, or of a kind that is not
        understood.
    """
    if not data:
        raise FrameError(
            where, found="an empty file (0 bytes)", expected="an image", action=_WHAT_TO_DO
        )
    read = _read_tiff if data.startswith(_TIFF_MAGIC) else _read_other
    try:
        raster = read(data, where, params.max_megapixels)
    except FrameError:
        raise
    except Image.UnidentifiedImageError as error:
        raise FrameError(
            where,
            found=f"{len(data)} bytes that are no image (they begin with {data[:12]!r})",
            expected="a JPEG, PNG or TIFF image",
            action=_WHAT_TO_DO,
        ) from error
    except Exception as error:
        raise FrameError(
            where,
            found=f"an image that is truncated or damaged ({type(error).__name__}: {error})",
            expected="a complete image",
            action=_WHAT_TO_DO,
        ) from error
    if raster.grey_yx.dtype.kind == "f" and not np.isfinite(raster.grey_yx).all():
        raise _not_understood(where, "values that are no numbers")
    return raster


def needs_range(data: bytes) -> bool:
    """Whether a file may hold more than 8 bits, by its header."""
    if not data.startswith(_TIFF_MAGIC):
        return data.startswith(_PNG_MAGIC) and data[_PNG_DEPTH : _PNG_DEPTH + 1] == b"\x10"
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return any(page.bitspersample > 8 for page in file.pages)


def _read_tiff(data: bytes, where: str, max_megapixels: float) -> Raster:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = max(file.pages, key=lambda page: page.imagewidth * page.imagelength)
        _check_size(page.imagewidth, page.imagelength, where, max_megapixels)
        if page.photometric not in _PHOTOMETRIC:  # CMYK, YCbCr, Lab: Pillow converts them
            return _read_other(data, where, max_megapixels)
        if page.bitspersample == 1:
            raise _not_understood(where, _BILEVEL)
        ends = [at + n for at, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if max(ends) > len(data) or 0 in page.databytecounts:
            raise EOFError(f"pixels end at byte {max(ends)} of {len(data)}")
        array, axes, bits = page.asarray(), page.axes, page.bitspersample
        tags = {tag.code: tag.value for tag in page.tags if tag.code in _TAGS}
        n_pages = max(len(file.pages), sum(one.size for one in file.series) // page.size)
        palette, is_inverted = page.colormap, page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    if palette is not None:
        array, axes, bits = np.moveaxis(palette[:, array], 0, -1), "YXS", 8
        array = (array // 257 if palette.max() > _WHITE else array).astype(np.uint8)
    is_known = array.dtype.kind == "u" and bits not in (16, 32, 64)
    raster = _weigh_colour(
        np.moveaxis(array, axes.index("S"), -1) if "S" in axes else array[..., np.newaxis],
        white=2.0**bits - 1 if is_known else None,
        is_inverted=is_inverted,
        instrument=_name_instrument(tags),
        flags=(PAGES_DROPPED,) if n_pages > 1 else (),
    )
    return _turn(raster, tags.get(_ORIENTATION, 1))


def _read_other(data: bytes, where: str, max_megapixels: float) -> Raster:
    with Image.open(io.BytesIO(data)) as image:
        _check_size(image.width, image.height, where, max_megapixels)
        if image.mode == "1":
            raise _not_understood(where, _BILEVEL)
        if image.format == "JPEG" and image.mode == "RGB" and "jfif" in image.info:
            image.draft("YCbCr", None)
        turned = image.getexif().get(_ORIENTATION, 1)
        flags = (PAGES_DROPPED,) if getattr(image, "n_frames", 1) > 1 else ()
        if image.format == "PNG" and needs_range(data):
            deep = imagecodecs.png_decode(data)  # Pillow would drop the lower half of deep colour
            raster = _weigh_colour(deep.reshape(*deep.shape[:2], -1), white=None, flags=flags)
        elif image.mode in _DEEP_MODES:
            raster = Raster(np.asarray(image), white=None, flags=flags)
        elif image.mode == "YCbCr" and (stored := _read_luminance(image)) is not None:
            raster = replace(stored, flags=flags)
        else:
            samples = np.asarray(image if image.mode == "L" else image.convert("RGB"))
            raster = _weigh_colour(samples.reshape(*samples.shape[:2], -1), flags=flags)
    return _turn(raster, turned)


def _read_luminance(image: Image.Image) -> Raster | None:
    """Luminance of a JPEG image as it was stored; None if the frame is coloured as a whole."""
    image.load()
    luminance_yx, *differences = (np.asarray(channel) for channel in image.split())
    blue_yx, red_yx = (cv2.absdiff(channel_yx, 128) for channel_yx in differences)
    chroma_yx = cv2.max(blue_yx, red_yx)
    if np.median(chroma_yx) > _MAX_GREY_CHROMA / 2:
        return None
    return Raster(luminance_yx, chroma_yx=cv2.add(chroma_yx, chroma_yx))


def _weigh_colour(
    samples_yxs: _Grey,
    *,
    white: float | None = float(_WHITE),
    flags: tuple[str, ...] = (),
    **known: Any,
) -> Raster:
    """Weight colour to luminance; the hue of a frame tinted as a whole is taken out."""
    if samples_yxs.shape[-1] <= 2:  # grey, transparency
        return Raster(np.ascontiguousarray(samples_yxs[..., 0]), white, flags=flags, **known)
    rgb = samples_yxs[..., :3]
    highest_yx, lowest_yx = (
        np.maximum.reduce([rgb[..., channel] for channel in range(3)]),
        np.minimum.reduce([rgb[..., channel] for channel in range(3)]),
    )
    scale = _WHITE / (white or max(float(np.percentile(highest_yx, 99.9)), 1e-9))
    chroma_yx = _scale_chroma(highest_yx - lowest_yx, scale)
    is_coloured = np.median(chroma_yx) > _MAX_GREY_CHROMA
    if is_coloured and (hue := _find_tint(rgb, highest_yx, scale)) is not None:
        flags = (*flags, TINTED)
        grey_yx = highest_yx
        chroma_yx = _scale_chroma(abs(rgb - grey_yx[..., np.newaxis] * hue).max(axis=-1), scale)
    elif rgb.dtype == np.uint8:
        grey_yx = np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"))
    else:
        weighted_yx = rgb @ np.asarray(_LUMINANCE)
        grey_yx = (weighted_yx if rgb.dtype.kind == "f" else np.rint(weighted_yx)).astype(rgb.dtype)
    return Raster(grey_yx, white, chroma_yx=chroma_yx, flags=flags, **known)


def _scale_chroma(chroma_yx: _Grey, scale: float) -> NDArray[np.uint8]:
    if chroma_yx.dtype == np.uint8 and scale == 1:
        return chroma_yx
    return np.asarray((chroma_yx * scale).clip(0, _WHITE), dtype=np.uint8)


def _find_tint(rgb: _Grey, highest_yx: _Grey, scale: float) -> NDArray[np.float32] | None:
    """Ratio of the channels to the brightest, if it is one throughout; None otherwise."""
    step = -(-len(highest_yx) // _SAMPLES)
    sample, top = rgb[::step, ::step], highest_yx[::step, ::step, np.newaxis].astype(np.float32)
    ratios = (sample / np.maximum(top, 1e-9))[top[..., 0] * scale >= _MIN_TINT_GREY]
    if not len(ratios):
        return None
    hue: NDArray[np.float32] = np.median(ratios, axis=0)
    is_alike = (abs(ratios - hue) <= _TINT_SPREAD).all(axis=-1).mean() >= _MIN_TINT_FRACTION
    is_tint = is_alike and _MIN_TINT_RATIO <= hue.min() <= 1 - _TINT_SPREAD
    return hue if is_tint else None


def _turn(raster: Raster, orientation: Any) -> Raster:
    """Turn a raster as the EXIF orientation (1 to 8) says."""
    if orientation not in range(2, 9):
        return raster

    def turn(image_yx: _Grey) -> _Grey:
        upright_yx = image_yx.T if orientation >= 5 else image_yx
        down, right = _FLIPS[orientation]
        return np.ascontiguousarray(upright_yx[::down, ::right])

    chroma_yx = None if raster.chroma_yx is None else turn(raster.chroma_yx)
    return replace(raster, grey_yx=turn(raster.grey_yx), chroma_yx=chroma_yx)


def _name_instrument(tags: Mapping[int, object]) -> str:
    vendors = [str(code) for code in _VENDOR_TAGS if code in tags]
    return " ".join([*vendors, *(str(tags[code]).strip() for code in _MAKE_TAGS if code in tags)])


def _check_size(width: int, height: int, where: str, max_megapixels: float) -> None:
    if width * height > max_megapixels * 1e6:
        raise FrameError(
            where,
            found=f"an image of {width} x {height} px ({width * height / 1e6:.0f} megapixels)",
            expected=f"at most {max_megapixels:g} megapixels",
            action="raise sem_ingest.reading.max_megapixels in conf/local/parameters.yml if there "
            "is memory for it, or reduce the image",
        )


def _not_understood(where: str, found: str) -> FrameError:
    return FrameError(
        where,
        found=f"an image of {found}",
        expected="grey values or colours of 8 to 32 bits",
        action="export the frame as 8- or 16-bit grey TIFF or PNG",
    )
