"""Parallel-beam filtered back projection, and its counterpart, projection of a volume.

Kak and Slaney, Principles of Computerized Tomographic Imaging (1988), chapter 3. Rows of the
detector are independent; sixteen of them are worked on at once, so that one computed position
serves sixteen values that lie side by side in memory. Filters are torch's on any device; rays are
followed by numba on the CPU, and by torch elsewhere.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

FloatArray = NDArray[np.float32]

ROWS = 16
"""Rows of the detector that are back-projected at once."""
_UPSAMPLING = 2
"""Filtered values a pixel: linear interpolation between them costs no resolution."""
_TILE = 32
_FILTERED = 64  # projections whose spectra are held at once


def reconstruct_rows(
    sinogram_zax: FloatArray,
    angles_deg: NDArray[np.float64],
    centre_px: float,
    *,
    size_px: int | None = None,
    fill: float = 0.0,
    device: str = "cpu",
) -> FloatArray:
    """Reconstruct rows of a scan by filtered back projection (Ram-Lak).

    Parameters
    ----------
    sinogram_zax
        (Z, A, X), line integrals in units of value times pixel.
    angles_deg
        (A,), angles over 180 or 360 degrees, evenly spaced or not; sorted or not.
    centre_px
        Where the rotation axis meets a row (px, from the centre of pixel 0).
    size_px
        Rows and columns of a section; None: X.
    fill
        Value outside the circle that every projection sees.
    device
        Of torch: ``cpu``, ``cuda``.

    Returns
    -------
    ndarray of float32
        (Z, Y, X), the axis in the middle of each section.
    """
    depth, count, width = sinogram_zax.shape
    size = size_px or width
    filtered_axz = torch.zeros((count, _UPSAMPLING * width + 1, ROWS), device=device)
    out = np.empty((depth, size, size), np.float32)
    weight = torch.from_numpy(weigh_angles(angles_deg)).to(device)[:, None, None]
    follow = _back_project if device == "cpu" else _back_project_tensors
    for start in range(0, depth, ROWS):
        rows = sinogram_zax[start : start + ROWS]
        for first in range(0, count, _FILTERED):
            some = slice(first, first + _FILTERED)
            fine = _filter_rows(torch.tensor(rows[:, some], device=device))
            filtered_axz[some, :-1, : len(rows)] = fine.permute(1, 2, 0)
        filtered_axz[:, -1] = filtered_axz[:, -2]
        filtered_axz *= weight
        section = follow(filtered_axz, angles_deg, _UPSAMPLING * centre_px, size)
        out[start : start + len(rows)] = section[..., : len(rows)].permute(2, 0, 1).cpu().numpy()
    out[:, ~mark_circle(size, min(centre_px, width - 1 - centre_px))] = fill
    return out


def mark_circle(size_px: int, radius_px: float) -> NDArray[np.bool_]:
    """Mark the pixels of a section that every projection sees, (Y, X)."""
    middle = (size_px - 1) / 2
    y, x = np.ogrid[:size_px, :size_px]
    inside: NDArray[np.bool_] = np.hypot(y - middle, x - middle) <= radius_px + 0.5
    return inside


def weigh_angles(angles_deg: NDArray[np.float64]) -> FloatArray:
    """Weigh projections by the angle that each stands for (radians, together pi).

    Directions that differ by half a turn count as one.
    """
    folded = np.mod(angles_deg, 180.0)
    order = np.argsort(folded, kind="stable")
    ordered = folded[order]
    gaps = np.diff(ordered, append=ordered[0] + 180.0)
    shares = np.empty_like(folded)
    shares[order] = (gaps + np.roll(gaps, 1)) / 2
    return np.deg2rad(shares).astype(np.float32)


def project_sections(
    volume_zyx: FloatArray, angles_deg: NDArray[np.float64], centre_px: float, width_px: int
) -> FloatArray:
    """Project sections along parallel rays: the line integrals that a scan would measure.

    Returns
    -------
    ndarray of float32
        (Z, A, X), in units of value times pixel.
    """
    depth, size, _ = volume_zyx.shape
    out = np.empty((depth, len(angles_deg), width_px), np.float32)
    radians = np.deg2rad(angles_deg)
    for start in range(0, depth, ROWS):
        rows = min(ROWS, depth - start)
        section = np.zeros((size, size, ROWS), np.float32)
        section[..., :rows] = np.moveaxis(volume_zyx[start : start + rows], 0, -1)
        lines = np.zeros((len(angles_deg), width_px, ROWS), np.float32)
        _project(section, np.cos(radians), np.sin(radians), centre_px, lines)
        out[start : start + rows] = np.moveaxis(lines[..., :rows], -1, 0)
    return out


def _filter_rows(rows_zax: Tensor) -> Tensor:
    """Apply the ramp to rows that go on with their outermost value; (Z, A, 2 X)."""
    width = rows_zax.shape[-1]
    length = fft.next_fast_len(2 * width, real=True)
    margin = (length - width) // 2
    ends = (margin, length - width - margin)
    padded = torch.nn.functional.pad(rows_zax, ends, mode="replicate")
    # The ramp is sampled in space: in frequency its mean would be lost (Kak and Slaney, eq. 61).
    offset = np.minimum(np.arange(length), length - np.arange(length))
    taps = np.zeros(length)
    odd = offset % 2 == 1
    taps[odd] = -1 / (np.pi * offset[odd]) ** 2
    taps[0] = 0.25
    ramp = torch.from_numpy(fft.rfft(taps).real.astype(np.float32)).to(rows_zax.device)
    fine: Tensor = torch.fft.irfft(torch.fft.rfft(padded) * ramp, n=_UPSAMPLING * length)
    first = _UPSAMPLING * margin
    return fine[..., first : first + _UPSAMPLING * width] * _UPSAMPLING


def _back_project_tensors(
    lines_axz: Tensor, angles_deg: NDArray[np.float64], centre: float, size_px: int
) -> Tensor:
    """Sum filtered lines over the angles, on the device that they are on.

    Parameters
    ----------
    lines_axz
        (A, 2 X + 1, Z), two values a pixel.
    centre
        Where the axis meets a line, in its values.

    Returns
    -------
    Tensor
        (Y, X, Z).
    """
    _, length, depth = lines_axz.shape
    axis = torch.arange(size_px, device=lines_axz.device) - (size_px - 1) / 2
    section = torch.zeros((size_px, size_px, depth), device=lines_axz.device)
    for lines, angle in zip(lines_axz, np.deg2rad(angles_deg), strict=True):
        across = axis[None] * np.cos(angle) + axis[:, None] * np.sin(angle)
        place = (centre + _UPSAMPLING * across).clamp(0, length - 2 + 0.999)
        left = place.long()
        share = (place - left)[..., None]
        section += torch.lerp(lines[left], lines[left + 1], share)
    return section


def _back_project(
    lines_axz: Tensor, angles_deg: NDArray[np.float64], centre: float, size_px: int
) -> Tensor:
    section = np.zeros((size_px, size_px, ROWS), np.float32)
    radians = np.deg2rad(angles_deg)
    _follow_rays(lines_axz.numpy(), np.cos(radians), np.sin(radians), centre, float(_UPSAMPLING),
                 section)  # fmt: skip
    return torch.from_numpy(section)


@njit(cache=True, nogil=True, fastmath=True)  # type: ignore[untyped-decorator]
def _follow_rays(  # noqa: PLR0917 - numba takes positions
    lines_axz: FloatArray,
    cosine: NDArray[np.float64],
    sine: NDArray[np.float64],
    centre: float,
    step: float,
    out_yxz: FloatArray,
) -> None:
    size = out_yxz.shape[0]
    last = lines_axz.shape[1] - 2
    middle = (size - 1) / 2
    for y0 in range(0, size, _TILE):
        for x0 in range(0, size, _TILE):
            for a in range(lines_axz.shape[0]):
                lines = lines_axz[a]
                for y in range(y0, min(y0 + _TILE, size)):
                    start = centre + step * ((y - middle) * sine[a] - middle * cosine[a])
                    for x in range(x0, min(x0 + _TILE, size)):
                        place = start + step * x * cosine[a]
                        place = min(max(place, 0.0), last + 0.999)
                        left = int(place)
                        share = np.float32(place - left)
                        for k in range(ROWS):
                            low = lines[left, k]
                            out_yxz[y, x, k] += low + share * (lines[left + 1, k] - low)


@njit(cache=True, nogil=True, fastmath=True)  # type: ignore[untyped-decorator]
def _project(
    section_yxz: FloatArray,
    cosine: NDArray[np.float64],
    sine: NDArray[np.float64],
    centre: float,
    out_axz: FloatArray,
) -> None:
    """Sum along rays, at the crossings with rows or columns, whichever the ray meets steeper."""
    size, width = section_yxz.shape[0], out_axz.shape[1]
    middle = (size - 1) / 2
    for a in range(out_axz.shape[0]):
        c, s = cosine[a], sine[a]
        by_row = abs(c) >= abs(s)
        major, minor = (c, s) if by_row else (s, c)
        length = np.float32(1 / abs(major))
        for u in range(width):
            for line in range(size):
                place = middle + ((u - centre) - (line - middle) * minor) / major
                if place < 0 or place > size - 1.001:
                    continue
                left = int(place)
                share = np.float32(place - left)
                for k in range(ROWS):
                    if by_row:
                        low, high = section_yxz[line, left, k], section_yxz[line, left + 1, k]
                    else:
                        low, high = section_yxz[left, line, k], section_yxz[left + 1, line, k]
                    out_axz[a, u, k] += length * (low + share * (high - low))
