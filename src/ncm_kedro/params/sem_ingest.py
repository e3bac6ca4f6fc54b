"""Settings of `sem_ingest`: reading, quality, mosaics, audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, PositiveFloat, field_validator

from ncm_kedro.params.base import FrozenParams
from ncm_kedro.units import parse_magnification

_SAME_MAGNIFICATION = 0.01  # relative


def _names_as_text(value: object) -> object:
    """YAML reads the composition 811 as a number."""
    names = value if isinstance(value, list | tuple) else []
    return [str(name) if type(name) is int else name for name in names] or value


class LabelParams(FrozenParams):
    """Which class names are known."""

    compositions: Annotated[tuple[str, ...], BeforeValidator(_names_as_text)] = Field(
        default=("333", "523", "622", "811"), min_length=1
    )
    """Compositions that a class name may start with (Ni:Co:Mn ratio, no unit)."""

    states: tuple[str, ...] = Field(default=("pristine", "formation", "cycled"), min_length=1)
    """Ageing states that may follow the composition (no unit); without one a frame is pristine."""

    folders: Mapping[str, str] = Field(default_factory=dict)
    """Classes of folders whose own name does not say it, by their path below the raw folder (or by
    the cell of frames.csv); in quotes, as YAML reads 811_100 as a number."""


def _key_as_text(value: object) -> object:
    """YAML reads the class 811 as a number."""
    return {str(key): um for key, um in value.items()} if isinstance(value, dict) else value


class PixelSizeParams(FrozenParams):
    """Pixel size of frames that do not say it; scale bar, metadata and frames.csv come first."""

    fallback_um: Annotated[
        PositiveFloat | dict[str, PositiveFloat] | None, BeforeValidator(_key_as_text)
    ] = None
    """Pixel size of frames that carry neither a readable scale bar nor metadata (um per px): one
    number for all, or one by class (``{811: 0.27, 811_cycled: 0.027}``), or one by magnification
    (``{x500: 0.27, x5000: 0.027}``, for frames whose sidecar or frames.csv says it). A frame that
    no entry fits is rejected."""

    @field_validator("fallback_um")
    @classmethod
    def _check_keys(cls, value: float | dict[str, float] | None) -> float | dict[str, float] | None:
        if isinstance(value, dict) and len({key[:1] in "xX" for key in value}) != 1:
            raise ValueError(
                "fallback_um by class or by magnification (x500), not a mixture and not empty"
            )
        return value

    def find_fallback_um(self, class_name: str, magnification: float | None) -> float | None:
        """Return the fallback (um per px) of a frame; None without one."""
        if not isinstance(self.fallback_um, dict):
            return self.fallback_um
        for key, value_um in self.fallback_um.items():
            known = parse_magnification(key) if key[:1] in "xX" else None
            if key == class_name or (
                known and magnification and abs(magnification / known - 1) <= _SAME_MAGNIFICATION
            ):
                return value_um
        return None


class ReadingParams(FrozenParams):
    """How a file becomes a grey frame; frames are decoded again when one of these changes."""

    min_size_px: int = Field(default=64, ge=8)
    """Smallest height and width of a usable frame, banner cut (px)."""

    max_megapixels: float = Field(default=300.0, gt=0)
    """Largest frame that is read (10^6 px). One of 14,336 x 14,336 px at 8 bits took 1.8 GB of
    memory to read and assess; deeper frames take more."""

    bit_depth: int | None = Field(default=None, ge=8, le=16)
    """Bits of the detector where files are deeper than 8 bits; None: the smallest of 8, 10, 12, 14
    and 16 bits that holds all frames of an instrument."""

    pixel_size: PixelSizeParams = PixelSizeParams()
    """How the pixel size is found."""


class QualityParams(FrozenParams):
    """Which frames are flagged and which are excluded."""

    tile_um: float = Field(default=8.6, gt=0)
    """Edge of the square tiles that are called flat or not (um); at least 32 px, and at most an
    eighth of the frame."""

    flat_contrast: float = Field(default=0.15, gt=0, lt=1)
    """A tile is flat below this fraction of the frame's 90th percentile of contrast (no unit)."""

    flat_level: float = Field(default=4.0, ge=0)
    """A tile is flat below this standard deviation, whatever the frame (grey levels)."""

    flag_flat_fraction: float = Field(default=0.02, ge=0, le=1)
    """Fraction of flat tiles from which a frame is flagged (no unit)."""

    max_flat_fraction: float = Field(default=0.06, ge=0, le=1)
    """Fraction of flat tiles above which a frame is excluded as bare (no unit)."""

    flag_clipped_fraction: float = Field(default=0.15, ge=0, le=1)
    """Fraction of pixels at 0 or 255 from which a frame is flagged (no unit)."""

    max_clipped_fraction: float = Field(default=0.33, ge=0, le=1)
    """Fraction of pixels at 0 or 255 above which a frame is excluded (no unit)."""

    min_relative_sharpness: float = Field(default=0.5, ge=0, le=1)
    """Fraction of the median sharpness of its class at its magnification below which a frame is
    excluded (no unit)."""

    near_duplicate_correlation: float = Field(default=0.98, gt=0, le=1)
    """Correlation of thumbnails from which two frames are flagged as near duplicates (no unit)."""

    ood_materials: tuple[str, ...] = (
        "LCO", "LFP", "LMFP", "LMO", "LNO", "LNMO", "NCA", "LTO", "graphite",
    )  # fmt: skip
    """Words in a sidecar's path that name another material than NCM."""

    min_separation: float = Field(default=8.0, ge=0)
    """Ashman's D from which a class's textures are split in two when a path contradicts the class
    (no unit; a normal spread gives 2.6, a uniform one 3.5, the real LCO frames 19, sound classes
    4.5)."""


class MosaicParams(FrozenParams):
    """How overlapping frames are found and chained into mosaics."""

    thumbnail_width_px: int = Field(default=160, ge=48, le=640)
    """Width of the thumbnails that pairs of one class are compared on (px)."""

    coarse_width_px: int = Field(default=80, ge=32, le=320)
    """Width of the thumbnails that pairs of different classes are first compared on (px)."""

    refine_width_px: int = Field(default=640, ge=160, le=4096)
    """Width of the frames that offsets are refined on (px); wider frames are reduced to it."""

    min_score: float = Field(default=8.0, ge=6.0)
    """Minimum phase-correlation peak of an overlap (standard deviations of the correlation
    surface). Frames without a common region stay below 6.2 over 2e5 pairs; an overlap of 30 % of a
    frame scores 12, one of 80 % scores 40."""

    min_coarse_score: float = Field(default=6.0, ge=5.0)
    """Minimum peak on coarse thumbnails for a pair of different classes to be looked at again."""

    min_correlation: float = Field(default=0.3, ge=0.0, lt=1.0)
    """Minimum correlation coefficient of the common region itself (no unit)."""

    min_overlap: float = Field(default=0.12, gt=0.0, lt=1.0)
    """Minimum fraction of a frame that two frames must have in common (no unit)."""

    min_gap_score: float = Field(default=10.0, ge=8.0)
    """Minimum peak of a small overlap between two mosaics of one class (standard deviations of the
    normalised surface). Frames without a common region stay below 8.4 over 2e3 pairs; an overlap of
    9 % of a frame scores 15."""

    min_gap_overlap: float = Field(default=0.04, gt=0.0, lt=1.0)
    """Minimum fraction of a frame that frames of two mosaics of one class must have in common."""

    max_gap_pairs: int = Field(default=5_000, ge=0)
    """Maximum number of pairs to search for small overlaps, the nearest in time first."""

    max_pairs: int = Field(default=1_000_000, ge=1)
    """Maximum number of pairs to compare, within classes and again across classes; beyond it,
    neighbours in time and evenly spaced frames only."""

    min_matches: int = Field(default=6, ge=5)
    """Minimum number of keypoints that agree on how two frames of any magnification, rotation or
    contrast lie."""

    max_view_pairs: int = Field(default=60_000, ge=0)
    """Maximum number of comparisons by keypoints (one of frames of different magnification counts
    for 4 or 16), the nearest in time first; the audit says how many pairs were left out."""

    neighbours: int = Field(default=8, ge=1)
    """Frames before and after each, by time, that are compared regardless of ``max_pairs``."""

    refined_links: int = Field(default=5, ge=1, le=50)
    """Overlaps per frame whose offset is refined to a fraction of a pixel."""

    max_residual_px: float = Field(default=4.0, gt=0)
    """Largest contradiction between a refined offset and the mosaic (px of the frame)."""

    session_gap_h: float = Field(default=6.0, gt=0)
    """Pause after which a new session of the same class begins (h)."""

    workers: int = Field(default=2, ge=1, le=64)
    """Threads; the result does not depend on it."""


class AuditParams(FrozenParams):
    """How a data set is searched for shortcuts that a classifier could learn."""

    n_folds: int = Field(default=5, ge=2, le=20)
    """Folds of each cross-validation."""

    band_fraction: float = Field(default=0.4, gt=0.05, le=1.0)
    """Width of the bands of a region that stay together in a by-area fold (frame heights)."""

    histogram_bins: int = Field(default=64, ge=4, le=256)
    """Bins of the grey-level histogram."""

    confidence: float = Field(default=0.99, gt=0.5, lt=1.0)
    """Level of the bound of chance above which a confound is reported, over all rows of the table
    together (no unit)."""

    strong_fraction: float = Field(default=0.5, gt=0, lt=1)
    """Fraction of the way from chance to perfect from which a confound counts as strong."""

    seed: int = Field(default=0, ge=0)
    """Seed of the folds."""

    workers: int = Field(default=2, ge=1, le=64)
    """Threads; the result does not depend on it."""
