"""How a field of view becomes a frame: settings of a session, exposure, noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.synthetic.sem.particles import Float


@dataclass(frozen=True)
class Recording:
    """Settings of the microscope during one session, and what they do to the grey values.

    Attributes
    ----------
    session
        Name of the session.
    mean_grey, grey_spread
        Mean and standard deviation of the grey levels (0-255) of a plain electrode.
    defocus_px
        Standard deviation of the focus blur in px.
    noise_grey
        Standard deviation of the shot noise at mean grey.
    focus, brightness, contrast, detector, collector, spot_size, stig_x, stig_y, gun_align
        Settings in the vendor's units.
    emission_ua
        Emission current in uA.
    """

    session: str
    mean_grey: float
    grey_spread: float
    defocus_px: float
    noise_grey: float
    focus: int
    brightness: int
    contrast: int
    detector: int
    collector: int
    spot_size: int
    stig_x: int
    stig_y: int
    gun_align: int
    emission_ua: int


def draw_recordings(names: Sequence[str], rng: np.random.Generator) -> list[Recording]:
    """Draw the settings of sessions, spread evenly over their ranges and all different.

    Brightness and contrast settings follow from mean and spread of the grey levels, and contrast
    amplifies the noise; focus and the others are drawn on their own, as a sample's height is.
    """
    count = len(names)
    levels = np.stack([(rng.permutation(count) + 0.5) / count for _ in range(8)], axis=1)
    return [_scale_recording(name, row) for name, row in zip(names, levels, strict=True)]


def _scale_recording(name: str, level: NDArray[np.float64]) -> Recording:
    """Scale eight numbers in 0-1 to the ranges seen in the published sidecars."""
    mean_grey, grey_spread = 72 + 66 * level[0], 24 + 26 * level[1]
    return Recording(
        session=name,
        mean_grey=float(mean_grey),
        grey_spread=float(grey_spread),
        defocus_px=float(0.7 + 0.5 * level[2]),
        noise_grey=float(grey_spread * (0.10 + 0.10 * level[3])),
        focus=round(1862 + 470 * level[4]),
        brightness=round(68 + 37 * level[0]),
        contrast=round(-169 + 231 * level[1]),
        detector=round(105 + 72 * level[5]),
        collector=round(88 + 156 * level[6]),
        spot_size=round(127 - 40 * level[3]),
        stig_x=round(-2 + 2 * level[7]),
        stig_y=round(-6 + 7 * level[7]),
        gun_align=round(-9 + 9 * level[5]),
        emission_ua=110 if level[6] > 0.5 else 120,
    )


def assign_own_sessions(
    class_count: int, series_count: int, confound: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose the series that are recorded in their class's own session.

    Parameters
    ----------
    class_count, series_count
        Classes, and series of each.
    confound
        Expected share of tied series, 0-1.
    rng
        Source of randomness.

    Returns
    -------
    ndarray of bool, (class_count, series_count)
    """
    tied = np.zeros((class_count, series_count), np.bool_)
    for row in tied:
        count = int(confound * series_count + rng.random())
        row[rng.permutation(series_count)[:count]] = True
    return tied


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
    recording
        Settings of the session.
    noise
        Strength of shot noise, charging bands and scan-line jitter; 0 leaves the signal as it is.
    rng
        Source of randomness.
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
