"""Conversion between pixels, micrometres and metres; the only place where it stands."""

from __future__ import annotations

UM2_PER_MM2 = 1.0e6
M_PER_UM = 1.0e-6


def area_px_to_mm2(area_px: float, pixel_size_um: float) -> float:
    """Convert an area in square pixels to mm².

    Parameters
    ----------
    area_px
        Area, px².
    pixel_size_um
        Edge of a pixel, um.
    """
    return area_px * pixel_size_um**2 / UM2_PER_MM2
