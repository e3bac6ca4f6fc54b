"""Settings for reading frames: classes, decoding, banner, pixel size, quality."""

from __future__ import annotations

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class LabelParams(FrozenParams):
    """Which class names are known."""

    compositions: tuple[str, ...] = Field(default=("333", "523", "622", "811"), min_length=1)
    """Compositions that a class name may start with (Ni:Mn:Co ratio, no unit)."""

    states: tuple[str, ...] = Field(default=("pristine", "formation", "cycled"), min_length=1)
    """Ageing states that may follow the composition (no unit); without one a frame is pristine."""


class BannerParams(FrozenParams):
    """How the vendor's text band at the bottom of a frame is recognised."""

    max_fraction: float = Field(default=0.25, gt=0, lt=1)
    """Largest share of the frame's height that a banner may take (no unit)."""

    min_height_px: int = Field(default=10, ge=4)
    """Smallest height of a banner (px)."""

    tolerance: int = Field(default=24, ge=0, le=100)
    """Grey levels by which a background pixel may differ from pure black or white (0-255)."""

    row_fraction: float = Field(default=0.4, gt=0, le=1)
    """Least share of background and full-contrast print in each row of a banner (no unit)."""

    margin_fraction: float = Field(default=0.97, gt=0, le=1)
    """Least share of background pixels in the first and last row of a banner (no unit)."""


class PixelSizeParams(FrozenParams):
    """Where the pixel size comes from: the scale bar, then metadata, then the fallback."""

    fallback_um: float | None = Field(default=None, gt=0)
    """Pixel size of frames that carry neither scale bar nor metadata (um per px)."""

    max_disagreement: float = Field(default=1.3, gt=1)
    """Factor by which scale bar and metadata may differ before the bar's reading is refused."""

    min_bar_fraction: float = Field(default=0.04, gt=0, lt=1)
    """Shortest scale bar as a share of the frame's width (no unit)."""

    max_glyph_distance: float = Field(default=0.25, gt=0)
    """Largest distance between a printed character and the nearest known glyph (no unit, 0-1)."""


class ReadingParams(FrozenParams):
    """How a file becomes a grey frame; frames are decoded anew when one of these changes."""

    min_size_px: int = Field(default=64, ge=8)
    """Smallest height and width of a usable frame, banner cut (px)."""

    banner: BannerParams = BannerParams()
    """How the banner is found (see there)."""

    pixel_size: PixelSizeParams = PixelSizeParams()
    """How the pixel size is found (see there)."""


class QualityParams(FrozenParams):
    """Which frames are flagged and which are left out."""

    tile_px: int = Field(default=32, ge=8)
    """Edge of the square tiles that are called flat or not (px)."""

    flat_contrast: float = Field(default=0.15, gt=0, lt=1)
    """A tile is flat below this share of the frame's strong contrast (90th percentile; no unit)."""

    flat_level: float = Field(default=4.0, ge=0)
    """A tile is flat below this standard deviation, whatever the frame (grey levels)."""

    flag_flat_fraction: float = Field(default=0.02, ge=0, le=1)
    """Share of flat tiles from which a frame is flagged (no unit)."""

    max_flat_fraction: float = Field(default=0.06, ge=0, le=1)
    """Share of flat tiles above which a frame is left out as bare (no unit)."""

    flag_clipped_fraction: float = Field(default=0.15, ge=0, le=1)
    """Share of pixels at 0 or 255 from which a frame is flagged (no unit)."""

    max_clipped_fraction: float = Field(default=0.33, ge=0, le=1)
    """Share of pixels at 0 or 255 above which a frame is left out (no unit)."""

    min_relative_sharpness: float = Field(default=0.5, ge=0, le=1)
    """Share of its class's median sharpness below which a frame is left out (no unit)."""

    near_duplicate_correlation: float = Field(default=0.98, gt=0, le=1)
    """Correlation of thumbnails from which two frames are flagged as near duplicates (no unit)."""

    foreign_materials: tuple[str, ...] = (
        "LCO", "LFP", "LMFP", "LMO", "LNO", "LNMO", "NCA", "LTO", "graphite",
    )  # fmt: skip
    """Words in a sidecar's path that name another material than NCM."""

    min_separation: float = Field(default=8.0, ge=0)
    """Ashman's D that parts a class's textures in two when a path contradicts the class (no unit;
    a normal spread gives 2.6, a uniform one 3.5, the real LCO frames 19, sound classes 4.5)."""
