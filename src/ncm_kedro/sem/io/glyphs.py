"""Reading the few characters of a scale bar's label, without an OCR engine.

Each connected blob is compared with rendered characters of several fonts and sizes (nearest
neighbour on a normalised 16 x 16 patch and the aspect ratio). Only digits and length units are
known; anything else is far from all of them and reads as ``?``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

UNKNOWN = "?"

_SIDE_PX = 16
_ASPECT_WEIGHT = 0.15
_MAX_DISTANCE = 0.25  # between a blob and the nearest known character (0-1)
_INK = 100  # grey levels from the background
_FOOT = 0.18  # of the height of a 1
_DOT_HEIGHT = 0.35  # of the line's height
_WORD_GAP = 1.2  # of the line's height
_MIN_OVERLAP = 0.4
_CHARACTERS = (*"0123456789", "u", "n", "m", "µ")
_TOUCHING = ("um", "nm", "mm", "µm", "00")  # characters that small print runs together
_FONT_FILES = (
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf", "DejaVuSerif.ttf",
    "STIXGeneral.ttf", "cmss10.ttf",
)  # fmt: skip
_FONT_SIZES_PX = (13, 20, 32)
_HERSHEY_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
_HERSHEY_SIZES = ((0.45, 1), (0.6, 1), (0.8, 1), (0.8, 2), (1.2, 2))


@dataclass(frozen=True)
class Word:
    """Characters that stand together.

    Parameters
    ----------
    text
        What was read; ``?`` for a blob that is no known character.
    x_px, y_px
        Top-left corner in the image.
    width_px, height_px
        Size of the bounding box.
    """

    text: str
    x_px: int
    y_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True)
class _Blob:
    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height


@dataclass(frozen=True)
class _GlyphBank:
    characters: tuple[str, ...]
    patches: NDArray[np.float32]  # (G, 256)
    log_aspects: NDArray[np.float32]  # (G,)


def read_words(ink_yx: NDArray[np.uint8]) -> list[Word]:
    """Read all words of a text image ``(H, W)``, bright on black, in reading order."""
    return [_read_line(ink_yx, line) for line in _group_lines(_find_blobs(ink_yx))]


def classify_glyph(patch_yx: NDArray[np.uint8]) -> str:
    """Name the character in a tightly cut patch ``(h, w)``, or ``?``."""
    bank = load_glyph_bank()
    patch, log_aspect = _normalise(patch_yx)
    distances = np.abs(bank.patches - patch).mean(axis=1)
    distances += _ASPECT_WEIGHT * np.abs(bank.log_aspects - log_aspect)
    best = int(distances.argmin())
    return bank.characters[best] if distances[best] <= _MAX_DISTANCE else UNKNOWN


@lru_cache(maxsize=1)
def load_glyph_bank() -> _GlyphBank:
    """Render every known character in every known font, once per process."""
    characters, patches, log_aspects = [], [], []
    for text in (*_CHARACTERS, *_TOUCHING):
        for rendered_yx in _render(text):
            patch, log_aspect = _normalise(rendered_yx)
            characters.append(text.replace("µ", "u"))
            patches.append(patch)
            log_aspects.append(log_aspect)
    for rendered_yx in _render("1"):
        patch, log_aspect = _normalise(_cut_off_foot(rendered_yx))
        characters.append("1")
        patches.append(patch)
        log_aspects.append(log_aspect)
    return _GlyphBank(
        tuple(characters), np.stack(patches), np.asarray(log_aspects, dtype=np.float32)
    )


def _render(text: str) -> Iterator[NDArray[np.uint8]]:
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for file in _FONT_FILES:
        for size in _FONT_SIZES_PX:
            font = ImageFont.truetype(folder / file, size)
            canvas = Image.new("L", (size * (len(text) + 2), size * 3))
            ImageDraw.Draw(canvas).text((size // 2, size // 2), text, fill=255, font=font)
            yield _cut_to_ink(np.asarray(canvas))
    if not text.isascii():
        return  # the stroke fonts know ASCII only
    for face in _HERSHEY_FONTS:
        for scale, thickness in _HERSHEY_SIZES:
            height = round(60 * scale)
            canvas_yx = np.zeros((2 * height, height * (len(text) + 2)), dtype=np.uint8)
            origin = (height // 2, round(1.3 * height))
            cv2.putText(canvas_yx, text, origin, face, scale, 255, thickness, cv2.LINE_AA)
            yield _cut_to_ink(canvas_yx)


def _cut_to_ink(canvas_yx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = np.nonzero(canvas_yx > _INK)
    return canvas_yx[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _cut_off_foot(patch_yx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make the 1 of a font without a foot (Arial) from one with a foot."""
    foot = round(_FOOT * patch_yx.shape[0])
    return _cut_to_ink(patch_yx[: patch_yx.shape[0] - foot])


def _normalise(patch_yx: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    height, width = patch_yx.shape
    resized = cv2.resize(
        patch_yx.astype(np.float32), (_SIDE_PX, _SIDE_PX),
        interpolation=cv2.INTER_AREA if min(height, width) >= _SIDE_PX else cv2.INTER_LINEAR,
    )  # fmt: skip
    scaled = (resized / max(float(resized.max()), 1.0)).ravel().astype(np.float32)
    return scaled, math.log(width / height)


def _find_blobs(ink_yx: NDArray[np.uint8]) -> list[_Blob]:
    _, _, boxes, _ = cv2.connectedComponentsWithStats((ink_yx > _INK).astype(np.uint8))
    return sorted(
        (_Blob(int(x), int(y), int(w), int(h)) for x, y, w, h, _ in boxes[1:]),
        key=lambda blob: (blob.x, blob.y),
    )


def _group_lines(blobs: list[_Blob]) -> list[list[_Blob]]:
    """Chain blobs, left to right, that share a line and stand close."""
    lines: list[list[_Blob]] = []
    for blob in blobs:
        line = next((line for line in lines if _continues(line, blob)), None)
        if line is None:
            lines.append([blob])
        else:
            line.append(blob)
    return lines


def _continues(line: list[_Blob], blob: _Blob) -> bool:
    top, bottom = min(other.y for other in line), max(other.bottom for other in line)
    height = max(bottom - top, blob.height)
    overlap = min(bottom, blob.bottom) - max(top, blob.y)
    gap = blob.x - max(other.right for other in line)
    return overlap >= _MIN_OVERLAP * min(bottom - top, blob.height) and gap <= _WORD_GAP * height


def _read_line(ink_yx: NDArray[np.uint8], line: list[_Blob]) -> Word:
    x, y = min(blob.x for blob in line), min(blob.y for blob in line)
    right, bottom = max(blob.right for blob in line), max(blob.bottom for blob in line)
    text = ""
    for blob in line:
        if blob.height <= _DOT_HEIGHT * (bottom - y):
            text += "." if blob.width < bottom - y else UNKNOWN
        else:
            patch_yx = ink_yx[blob.y : blob.bottom, blob.x : blob.right]
            text += classify_glyph(patch_yx)
    return Word(text, x, y, right - x, bottom - y)
