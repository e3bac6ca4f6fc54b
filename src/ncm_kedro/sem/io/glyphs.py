"""Reading the few characters of a scale bar's label, without an OCR engine.

Each connected blob is compared with rendered characters of several fonts and sizes (nearest
neighbour on a normalised 16 x 16 patch and the aspect ratio). Only digits and length units are
known. A blob reads as ``?`` if it is far from all of them, nearly as near to another character,
or has another number of holes than its character: a label that is not read costs a frame its
scale bar, one that is misread costs its truth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

UNKNOWN = "?"

_SIDE_PX = 16
_ASPECT_WEIGHT = 2.0
# Root mean square between a blob and the nearest known character (0-1), and its ratio to that of
# the nearest other character: far from the first is near enough if the second is farther still.
# In print tall enough to show its holes, characters of another number of holes count less.
_NEAR = ((0.22, 0.8), (0.27, 0.65))
_HOLES_FROM_PX, _MAX_RATIO_OF_ALL = 13, 0.92
_INK = 100  # grey levels from the background
_FOOT = 0.18  # of the height of a 1
_MIN_DESCENT = 0.15  # of the height of a digit, that a µ sinks below it and begins below its top
_DOT_HEIGHT = 0.35  # of the line's height
_MIN_DIGIT_PX = 7
_MAX_SLACK = 0.16  # of the height by which digits of one number may differ in top or bottom
_FAINT_INK = 50  # between two digits: a dot that is too faint to be a blob
_LINE_GAP = 1.3  # of the line's height; what is farther apart are two texts
_WORD_GAP = 0.8  # of the line's height; what is nearer is one word, blanks included
_MIN_OVERLAP = 0.4
_CHARACTERS = (*"0123456789", "u", "n", "m", "µ")
_TOUCHING = ("um", "nm", "mm", "µm", "00")  # characters that small print runs together
_MIN_HOLE = 0.03  # of a character's box
_HOLES = {"0": (1, 2), "4": (0, 1), "6": (1,), "8": (2,), "9": (1,), "00": (2,)}
_FONT_FILES = (
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf",
    "DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf", "STIXGeneral.ttf", "STIXGeneralBol.ttf",
    "cmss10.ttf", "cmr10.ttf", "cmtt10.ttf", "DejaVuSans-Oblique.ttf",
)  # fmt: skip
_SLANTED_FONT_FILES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
_SLANT = 0.21  # columns a row: the 12 degrees of oblique print
_FONT_SIZES_PX = (10, 13, 20, 32)
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
    follows
        Whether another word stands close to its left, in the same line.
    """

    text: str
    x_px: int
    y_px: int
    width_px: int
    height_px: int
    follows: bool = False


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

    def encloses(self, other: _Blob) -> bool:
        """Whether the other lies inside, as the dot in the zero of some fonts."""
        return (
            self.x < other.x
            and self.y < other.y
            and self.right > other.right
            and self.bottom > other.bottom
        )


@dataclass(frozen=True)
class _GlyphBank:
    characters: tuple[str, ...]  # sorted, C of them
    firsts: NDArray[np.intp]  # (C,) first glyph of each
    glyphs: NDArray[np.float32]  # (G, 257)


def read_words(ink_yx: NDArray[np.uint8]) -> list[Word]:
    """Read all words of a text image ``(H, W)``, bright on black, in reading order."""
    words = []
    for line in _group_lines(_find_blobs(ink_yx)):
        highest = max(blob.height for blob in line)
        height = float(np.median([b.height for b in line if b.height > highest / 2]))
        word: list[_Blob] = []
        for blob in line:
            if word and blob.x - max(other.right for other in word) > _WORD_GAP * height:
                words.append(_read_word(ink_yx, word, word[0] is not line[0]))
                word = []
            word.append(blob)
        words.append(_read_word(ink_yx, word, word[0] is not line[0]))
    return words


def classify_glyphs(patches: Sequence[NDArray[np.uint8]]) -> list[str]:
    """Name the character in each tightly cut patch ``(h, w)``, or ``?``."""
    if not patches:
        return []
    bank = load_glyph_bank()
    found = np.stack([_normalise(patch_yx) for patch_yx in patches])
    squares = (found**2).sum(axis=1)[:, None] + (bank.glyphs**2).sum(axis=1)
    squares = np.maximum(squares - 2 * found @ bank.glyphs.T, 0)
    nearest = np.sqrt(np.minimum.reduceat(squares, bank.firsts, axis=1)) / _SIDE_PX
    return [
        _name(distances, patch_yx, bank)
        for distances, patch_yx in zip(nearest, patches, strict=True)
    ]


def _name(distances: NDArray[np.float32], patch_yx: NDArray[np.uint8], bank: _GlyphBank) -> str:
    """Name the nearest character if it is near, alone, and has the patch's number of holes."""
    first = int(distances.argmin())
    holes = _count_holes(patch_yx)
    is_alike = np.array([holes in _HOLES.get(name, (0,)) for name in bank.characters])
    if not is_alike[first]:
        return UNKNOWN
    others = np.delete(distances, first)
    rivals = np.delete(distances, first)[np.delete(is_alike, first)]
    if patch_yx.shape[0] < _HOLES_FROM_PX or not rivals.size:
        rivals = others
    is_near = any(
        distances[first] <= min(farthest, ratio * rivals.min()) for farthest, ratio in _NEAR
    )
    return (
        bank.characters[first]
        if is_near and distances[first] <= _MAX_RATIO_OF_ALL * others.min()
        else UNKNOWN
    )


@lru_cache(maxsize=1)
def load_glyph_bank() -> _GlyphBank:
    """Render every known character in every known font, once per process."""
    glyphs: dict[str, list[NDArray[np.float32]]] = {}
    for text in (*_CHARACTERS, *_TOUCHING):
        for rendered_yx in _render(text):
            glyphs.setdefault(text.replace("µ", "u"), []).append(_normalise(rendered_yx))
    for rendered_yx in _render("1", slanted=False):
        footless_yx = _cut_off_foot(rendered_yx)
        slanted_yx = _cut_to_ink(_slant(footless_yx))
        glyphs["1"] += [_normalise(footless_yx), _normalise(slanted_yx)]
    characters = tuple(sorted(glyphs))
    counts = [len(glyphs[character]) for character in characters]
    return _GlyphBank(
        characters,
        np.cumsum([0, *counts[:-1]]),
        np.stack([glyph for character in characters for glyph in glyphs[character]]),
    )


def _render(text: str, *, slanted: bool = True) -> Iterator[NDArray[np.uint8]]:
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for file in _FONT_FILES:
        if file.startswith("cm") and not text.isascii():
            continue
        for size in _FONT_SIZES_PX:
            font = ImageFont.truetype(folder / file, size)
            for mode in ("L", "1"):  # smoothed or not
                canvas = Image.new(mode, (size * (len(text) + 2), size * 3))
                ImageDraw.Draw(canvas).text((size // 2, size // 2), text, fill=255, font=font)
                upright_yx = np.asarray(canvas.convert("L"))
                yield _cut_to_ink(upright_yx)
                if slanted and file in _SLANTED_FONT_FILES:
                    yield _cut_to_ink(_slant(upright_yx))
    if not text.isascii():
        return  # the stroke fonts know ASCII only
    for face in _HERSHEY_FONTS:
        for scale, thickness in _HERSHEY_SIZES:
            height = round(60 * scale)
            canvas_yx = np.zeros((2 * height, height * (len(text) + 2)), dtype=np.uint8)
            origin = (height // 2, round(1.3 * height))
            cv2.putText(canvas_yx, text, origin, face, scale, 255, thickness, cv2.LINE_AA)
            yield _cut_to_ink(canvas_yx)


def _slant(canvas_yx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = canvas_yx.shape
    shear = np.array([[1, -_SLANT, _SLANT * height], [0, 1, 0]])
    size = (width + math.ceil(_SLANT * height), height)
    return np.asarray(cv2.warpAffine(canvas_yx, shear, size), dtype=np.uint8)


def _cut_to_ink(canvas_yx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = np.nonzero(canvas_yx > _INK)
    return canvas_yx[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _cut_off_foot(patch_yx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make the 1 of a font without a foot (Arial) from one with a foot."""
    foot = round(_FOOT * patch_yx.shape[0])
    return _cut_to_ink(patch_yx[: patch_yx.shape[0] - foot])


def _normalise(patch_yx: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey values of a patch at one size (0-1), and its aspect ratio, (257,)."""
    height, width = patch_yx.shape
    resized = cv2.resize(
        patch_yx.astype(np.float32), (_SIDE_PX, _SIDE_PX),
        interpolation=cv2.INTER_AREA if min(height, width) >= _SIDE_PX else cv2.INTER_LINEAR,
    )  # fmt: skip
    grey = (resized / max(float(resized.max()), 1.0)).ravel()
    aspect = _ASPECT_WEIGHT * math.log(width / height)
    return np.append(grey, aspect).astype(np.float32)


def _count_holes(patch_yx: NDArray[np.uint8]) -> int:
    """Count areas of background that ink encloses; corners that strokes leave are none."""
    blank = np.pad((patch_yx <= _INK).astype(np.uint8), 1, constant_values=1)
    _, _, stats, _ = cv2.connectedComponentsWithStats(blank, connectivity=4)
    areas = stats[2:, cv2.CC_STAT_AREA]  # without ink and what lies around it
    return int((areas > _MIN_HOLE * patch_yx.size).sum())


def _find_blobs(ink_yx: NDArray[np.uint8]) -> list[_Blob]:
    _, _, boxes, _ = cv2.connectedComponentsWithStats((ink_yx > _INK).astype(np.uint8))
    blobs = [_Blob(int(x), int(y), int(w), int(h)) for x, y, w, h, _ in boxes[1:]]
    return sorted(blobs, key=lambda blob: (blob.x, blob.y))


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
    return overlap >= _MIN_OVERLAP * min(bottom - top, blob.height) and gap <= _LINE_GAP * height


def _read_word(ink_yx: NDArray[np.uint8], word: list[_Blob], follows: bool) -> Word:
    word = [blob for blob in word if not any(other.encloses(blob) for other in word)]
    x, y = min(blob.x for blob in word), min(blob.y for blob in word)
    right, bottom = max(blob.right for blob in word), max(blob.bottom for blob in word)
    tall = [blob for blob in word if blob.height > _DOT_HEIGHT * (bottom - y)]
    patches = [ink_yx[blob.y : blob.bottom, blob.x : blob.right] for blob in tall]
    named = dict(zip(tall, classify_glyphs(patches), strict=True))
    digits = [blob for blob in tall if named[blob].isdecimal()]
    if digits:
        named |= {blob: "u" for blob in _find_micro(ink_yx, tall, named, digits[0])}
    text = "".join(named.get(blob, ".") for blob in word)
    if digits and not _is_set_in_line(ink_yx, word, named, digits):
        text = UNKNOWN + text
    return Word(text, x, y, right - x, bottom - y, follows)


def _find_micro(
    ink_yx: NDArray[np.uint8], tall: list[_Blob], named: dict[_Blob, str], digit: _Blob
) -> Iterator[_Blob]:
    """Find a µ of any font: between digits and m it alone sinks below them, without a hole."""
    for before, blob, after in zip(tall, tall[1:], tall[2:], strict=False):
        names = (named[before].isdecimal(), named[blob], named[after])
        sinks = blob.bottom - digit.bottom >= _MIN_DESCENT * digit.height
        is_low = blob.y - digit.y >= _MIN_DESCENT * digit.height
        patch_yx = ink_yx[blob.y : blob.bottom, blob.x : blob.right]
        if names == (True, UNKNOWN, "m") and sinks and is_low and not _count_holes(patch_yx):
            yield blob


def _is_set_in_line(
    ink_yx: NDArray[np.uint8], word: list[_Blob], named: dict[_Blob, str], digits: list[_Blob]
) -> bool:
    """Whether digits, dots and letters stand where print puts them, and no dot is too faint."""
    top, base = digits[0].y, digits[0].bottom
    if base - top < _MIN_DIGIT_PX:
        return False
    slack = max(1.0, _MAX_SLACK * (base - top))
    for blob in word:
        name = named.get(blob)
        if name is None:
            is_in_line = abs(blob.bottom - base) <= slack and blob.width < 0.5 * (base - top)
        elif name.isdecimal():
            is_in_line = abs(blob.y - top) <= slack and abs(blob.bottom - base) <= slack
        elif name == UNKNOWN:
            is_in_line = True
        else:
            sinks = blob.bottom - base > slack and not name.startswith("u")
            is_in_line = blob.y - top > 0.08 * (base - top) and not sinks
            is_in_line &= base - blob.bottom <= slack
        if not is_in_line:
            return False
    if any(left.right - right.x > slack for left, right in pairwise(word)):
        return False  # a broken character
    lowest = slice(round(base - 0.3 * (base - top)), base)
    for left, right in pairwise(word):
        between_yx = ink_yx[lowest, left.right + 1 : right.x - 1]
        if left in digits and right in digits and (between_yx > _FAINT_INK).any():
            return False
    return True
