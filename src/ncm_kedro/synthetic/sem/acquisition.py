"""What the microscope and its software make of a field of view: grey levels, banner, sidecar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ncm_kedro.errors import SettingsError
from ncm_kedro.params.synthesise import BANNER_PX
from ncm_kedro.synthetic.sem.particles import Float
from ncm_kedro.synthetic.sem.plan import Recording

_TEXT_GREY = 255
_BAR_GREY = 235
_BULLET_GREY = 45
_FONT_PX = 21
_FONT_WIDTH = 0.89
"""Width of the vendor's letters over those of DejaVu Sans."""

_WIDE_FIELDS_X = (43, 295, 428, 568, 705)
"""Left edges in px of the first row's fields in a frame 1280 px wide."""

_BAR_TOP, _END_TICK_PX, _MINOR_TICK_PX, _TICK_WIDTH = 15, 9, 6, 7


@dataclass(frozen=True)
class ScaleBar:
    """Where a scale bar was drawn.

    Attributes
    ----------
    length_um
        Length that is printed, in um.
    first_tick_x_px, last_tick_x_px
        Centres of the first and the last tick in the frame, in px.
    """

    length_um: int
    first_tick_x_px: float
    last_tick_x_px: float


def place_scale_bar(width_px: int, pixel_size_um: float) -> ScaleBar:
    """Place the longest round scale bar that fits into the right part of the banner.

    Parameters
    ----------
    pixel_size_um
        Edge of a pixel in um; the bar's tick centres are its length over this apart.

    Raises
    ------
    SettingsError
        If not even 1 um fits.
    """
    right = width_px - (98 if width_px >= 1200 else 40)
    room = 0.62 * width_px - 10 if width_px < 1200 else 0.36 * width_px
    for length_um in (1000, 500, 200, 100, 50, 20, 10, 5, 2, 1):
        length_px = length_um / pixel_size_um
        if length_px <= room:
            return ScaleBar(
                length_um, round(right - length_px) + 0.0, round(right - length_px) + length_px
            )
    raise SettingsError(
        "pixel_size_um",
        found=f"{pixel_size_um} um in a frame {width_px} px wide",
        expected="a frame at least a few micrometres wide",
        action="raise pixel_size_um or width_px",
    )


def draw_banner(
    width_px: int,
    pixel_size_um: float,
    acquired_at: datetime,
    *,
    voltage_kv: float = 20.0,
    magnification: float = 500.0,
    working_distance_mm: float = 5.0,
) -> NDArray[np.uint8]:
    """Draw a data banner in the style of the SNE-4500M Plus.

    Parameters
    ----------
    width_px
        Width of the frame; below 1200 px the fields that do not fit are omitted.
    pixel_size_um
        Edge of a pixel in um, which the scale bar is drawn to.

    Returns
    -------
    ndarray of uint8, (64, width_px)
        White text and scale bar on black.
    """
    bar = place_scale_bar(width_px, pixel_size_um)
    banner = np.zeros((BANNER_PX, width_px), np.uint8)
    fields = (
        "ETRI", f"{voltage_kv:g} kV", "SE", "HighVac", f"x{magnification:g}",
    )  # fmt: skip
    limit = bar.first_tick_x_px - 14
    wide = width_px >= 1200
    x = 43.0 if wide else 14.0
    for index, text in enumerate(fields):
        x = float(_WIDE_FIELDS_X[index]) if wide else x
        x = _write(banner, text, x, 5, limit, bullet=wide) + 16
    second = 43.0 if wide else 14.0
    end = _write(banner, f"{acquired_at:%Y.%m.%d %H:%M}", second, 32, limit, bullet=wide)
    second = 288.0 if wide else end + 16
    _write(banner, f"WD {working_distance_mm:g}mm", second, 32, limit, bullet=wide)
    _draw_bar(banner, bar)
    zero, label = _render_text("0"), _render_text(f"{bar.length_um} um")
    _stamp(banner, zero, bar.first_tick_x_px - 2 - zero.shape[1] / 2, 33)
    _stamp(banner, label, min(bar.last_tick_x_px - 40, width_px - label.shape[1] - 2), 31)
    return banner


def _draw_bar(banner: NDArray[np.uint8], bar: ScaleBar) -> None:
    """Draw the bar with eleven ticks, those at the ends and in the middle longer."""
    half = _TICK_WIDTH / 2
    columns = np.arange(banner.shape[1])
    for index, centre in enumerate(np.linspace(bar.first_tick_x_px, bar.last_tick_x_px, 11)):
        reach = _END_TICK_PX if index in (0, 5, 10) else _MINOR_TICK_PX
        cover = np.clip(half + 0.5 - np.abs(columns - centre), 0, 1)
        rows = banner[_BAR_TOP : _BAR_TOP + reach]
        np.maximum(rows, (cover * _BAR_GREY).astype(np.uint8), out=rows)
    middle = (bar.first_tick_x_px + bar.last_tick_x_px) / 2
    reach_px = (bar.last_tick_x_px - bar.first_tick_x_px) / 2 + half
    cover = np.clip(reach_px + 0.5 - np.abs(columns - middle), 0, 1)
    rows = banner[_BAR_TOP : _BAR_TOP + 3]
    np.maximum(rows, (cover * _BAR_GREY).astype(np.uint8), out=rows)


def _write(
    banner: NDArray[np.uint8], text: str, x_px: float, y_px: int, limit_px: float, *, bullet: bool
) -> float:
    """Write text if it ends before `limit_px`; return where it ends, or where it would start."""
    image = _render_text(text)
    if x_px + image.shape[1] > limit_px:
        return x_px
    if bullet:
        centre = round(x_px) - 18
        banner[y_px + 11 : y_px + 15, centre - 2 : centre + 2] = _BULLET_GREY
    _stamp(banner, image, x_px, y_px)
    return x_px + float(image.shape[1])


def _stamp(banner: NDArray[np.uint8], image: NDArray[np.uint8], x_px: float, y_px: int) -> None:
    left = max(0, round(x_px))
    view = banner[y_px : y_px + image.shape[0], left : left + image.shape[1]]
    np.maximum(view, image[: view.shape[0], : view.shape[1]], out=view)


@lru_cache(maxsize=256)
def _render_text(text: str) -> NDArray[np.uint8]:
    """Render text as grey values (h, w) that start at its first inked column."""
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = ImageFont.truetype(path, _FONT_PX)
    width = int(font.getlength(text)) + 4
    image = Image.new("L", (width, _FONT_PX + 6))
    ImageDraw.Draw(image).text((1, 0), text, fill=_TEXT_GREY, font=font)
    narrow = image.resize(
        (max(1, round(width * _FONT_WIDTH)), image.height), Image.Resampling.BICUBIC
    )
    grey = np.asarray(narrow, dtype=np.uint8)
    inked = np.flatnonzero(grey.max(axis=0) > 40)
    return grey[:, inked[0] : inked[-1] + 1]


SCAN_PIXELS = 480
"""Pixels that the vendor's frame is scanned with, before it is enlarged for saving."""


def write_korean_date(moment: datetime) -> str:
    """Return a moment as Korean Windows writes it: ``2019-09-02 오전 12:09:36``."""
    half = "오전" if moment.hour < 12 else "오후"
    return f"{moment:%Y-%m-%d} {half} {moment.hour % 12 or 12}:{moment:%M:%S}"


def write_sidecar(
    path: str,
    acquired_at: datetime,
    recording: Recording,
    *,
    width_px: int,
    pixel_size_um: float,
    filament_ua: float,
    voltage_kv: float = 20.0,
    magnification: float = 500.0,
) -> bytes:
    r"""Return the text file that the vendor's software puts beside a frame.

    Parameters
    ----------
    path
        Windows path of the frame at the time of saving.
    width_px, pixel_size_um
        Of the saved frame. As with the vendor, the ``Pixel Size`` that is written is that of the
        480-px scan: `pixel_size_um` times `width_px` / 480.

    Returns
    -------
    bytes
        UTF-8 with ``\r\n``, sections in brackets, keys that repeat across sections.
    """
    template = files("ncm_kedro.synthetic.sem").joinpath("sidecar.txt").read_text("utf-8")
    text = template.format(
        date=write_korean_date(acquired_at),
        time=f"{acquired_at:%H:%M:%S.%f}0",
        path=path,
        voltage=voltage_kv,
        magnification=magnification,
        r=recording,
        filament=filament_ua,
        scan_pixel_um=pixel_size_um * width_px / SCAN_PIXELS,
    )
    return text.replace("\n", "\r\n").encode("utf-8")


def corrupt_sidecar(sidecar: bytes) -> bytes:
    """Return a sidecar as a crashed transfer leaves it: no separators, wrong encoding, cut off."""
    text = sidecar.decode("utf-8").replace(" :", "").replace("[", "").replace("]", "")
    return b"\x00\xff" + text.replace("\r\n", "\n").encode("cp949", "replace")[: len(sidecar) // 4]


def expose_frame(
    signal_yx: Float,
    recording: Recording,
    noise: float,
    rng: np.random.Generator,
    *,
    overexposed: bool = False,
) -> NDArray[np.uint8]:
    """Turn detector signal into grey levels with the artefacts of a slow scan.

    Parameters
    ----------
    signal_yx
        Signal (H, W) of the field of view, mean 0 and unit spread over the electrode.
    noise
        Strength of shot noise, charging bands and scan-line jitter; 0 leaves the signal as it is.
    overexposed
        Whether the operator turned contrast and brightness far too high.

    Returns
    -------
    ndarray of uint8, (H, W)
    """
    if noise > 0:
        signal_yx = _jitter_lines(signal_yx, 0.5 * noise, rng)
    grey = recording.mean_grey + recording.grey_spread * signal_yx
    if noise > 0:
        grey += noise * recording.noise_grey * _draw_shot_noise(grey, recording.mean_grey, rng)
        grey += noise * _draw_bands(grey.shape, rng)
    if overexposed:
        grey = 2.4 * (grey - recording.mean_grey) + 290
    image: NDArray[np.uint8] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return image


def _jitter_lines(signal_yx: Float, spread_px: float, rng: np.random.Generator) -> Float:
    """Shift every scan line, two rows high, by its own fraction of a pixel."""
    rows, columns = signal_yx.shape
    lines = spread_px * rng.standard_normal((rows // 2 + 1, 1), dtype=np.float32)
    shift = cv2.resize(lines, (1, rows), interpolation=cv2.INTER_LINEAR)
    at_x = np.arange(columns, dtype=np.float32)[None, :] + shift
    at_y = np.repeat(np.arange(rows, dtype=np.float32)[:, None], columns, axis=1)
    moved: Float = cv2.remap(
        signal_yx, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return moved


def _draw_shot_noise(grey_yx: Float, mean_grey: float, rng: np.random.Generator) -> Float:
    """Draw noise of unit spread at mean grey that grows as the square root of the signal.

    It is as coarse as the vendor's enlargement of the scan leaves it.
    """
    white = rng.standard_normal(grey_yx.shape, dtype=np.float32)
    coarse = cv2.GaussianBlur(white, (0, 0), 0.75) * np.float32(2.6)
    shot: Float = coarse * np.sqrt(np.clip(grey_yx / mean_grey, 0.15, 3))
    return shot


def _draw_bands(shape: tuple[int, ...], rng: np.random.Generator) -> Float:
    """Draw charging: faint line-to-line flicker and a few broad, short-lived bright bands."""
    rows, columns = shape
    lines = 0.9 * rng.standard_normal(rows)
    for _ in range(int(rng.poisson(2.5))):
        centre, width = rng.uniform(0, rows), rng.uniform(2, 25)
        profile = np.exp(-(((np.arange(rows) - centre) / width) ** 2))
        lines += rng.normal(0, 5) * profile
    along = 1 + 0.4 * np.sin(np.linspace(0, 1, columns) * rng.uniform(2, 9) + rng.uniform(0, 6))
    return np.outer(lines, along).astype(np.float32)
