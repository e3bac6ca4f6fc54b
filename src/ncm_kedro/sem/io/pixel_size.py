"""The pixel size of a frame: which sources know it, which of them is used, what contradicts it.

Sources, the most trusted first: the user's ``frames.csv``; metadata (of the image file, then of
the sidecar) and the drawn scale bar, which confirm each other; the resolution of the image file;
the parameter. Of two that agree, the finer is used: a sidecar that says ``0.7`` is coarser than a
bar of 370 px, a bar of 100 px is coarser than ``2.5012e-6 m``. Of two that do not, metadata is:
a misread label is off by a factor of two or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import FrameError
from ncm_kedro.params.sem_ingest import PixelSizeParams
from ncm_kedro.sem.io.bar_shapes import ScaleBar
from ncm_kedro.sem.io.metadata import StatedSize, find_stated_size
from ncm_kedro.sem.io.scale_bar import read_scale_bar
from ncm_kedro.sem.io.sidecar import Sidecar

SCALE_BAR, METADATA, FRAME_TABLE, PARAMETER = "scale_bar", "metadata", "frame_table", "parameter"
UNREADABLE, CONFLICT = "scale_bar_unreadable", "pixel_size_conflict"
IMPLAUSIBLE, RESIZED = "pixel_size_implausible", "image_resized"
MAGNIFICATION = "magnification_conflict"

_AGREEMENT = 0.03  # relative difference of two sources that confirm each other
_MAX_ROUNDING = 0.08  # relative; a value of one digit is not taken to be coarser than this
_BAR_ERROR_PX = 0.5
_FINER = 2.0  # times, that a bar has to be finer than metadata that agree
_MIN_FIELD_UM, _MAX_FIELD_UM = 0.5, 20_000.0
_SCAN_PX = 1024  # a narrower frame is taken as a crop of a scan of this width
_PRINT_MM = (100.0, 700.0)  # width of the print or display that magnifications refer to
_MAX_RATIO = 3.0
_MAX_RATIO_OF_A_CROP = 100.0  # a crop or a zoom shows less than its magnification stands for


@dataclass(frozen=True)
class PixelSize:
    """Edge length of a pixel and where it is known from.

    Parameters
    ----------
    value_um
        Edge of a pixel (um).
    source
        ``frame_table``, ``metadata``, ``scale_bar`` or ``parameter``.
    flags
        What was noticed.
    other_um
        What the next source says (um), one that contradicts first; None without another.
    """

    value_um: float
    source: str
    flags: tuple[str, ...] = ()
    other_um: float | None = None


@dataclass(frozen=True)
class KnownSizes:
    """What is known of a frame's pixel size without looking at the image.

    Parameters
    ----------
    sidecar, embedded
        What the instrument wrote beside the image, and into its file.
    table_um
        Pixel size that the frame table gives (um).
    magnification
        Magnification that the frame table gives; without, the metadata's counts.
    class_name
        Class of the frame, for a fallback by class.
    """

    sidecar: Sidecar = field(default_factory=Sidecar)
    embedded: Sidecar = field(default_factory=Sidecar)
    table_um: float | None = None
    magnification: float | None = None
    class_name: str = ""

    @property
    def known_magnification(self) -> float | None:
        """Magnification by frame table, sidecar or image file."""
        stated = self.sidecar.magnification or self.embedded.magnification
        return self.magnification or stated


@dataclass(frozen=True)
class _Candidate:
    value_um: float
    source: str
    relative_error: float = 0.0
    unit_is_written: bool = False
    is_resolution: bool = False
    is_resized: bool = False

    def agrees_with(self, other: _Candidate, tolerance: float = _AGREEMENT) -> bool:
        return max(self.value_um, other.value_um) <= (1 + tolerance) * min(
            self.value_um, other.value_um
        )


def find_pixel_size(
    image_yx: NDArray[np.uint8],
    databars: Sequence[slice],
    known: KnownSizes,
    params: PixelSizeParams,
    where: str,
) -> PixelSize:
    """Find the pixel size of a frame.

    Parameters
    ----------
    image_yx
        The whole frame, ``(H, W)``, databars included.
    databars
        Rows of the databars. Without any, a scale bar is searched in the image itself.
    known
        What frame table, sidecar and image file say.

    Returns
    -------
    PixelSize
        Flagged if sources contradict each other by more than 3 %, if one was implausible, if the
        image is not of the size that its metadata describe, or if a databar's scale bar is not
        read.

    Raises
    ------
    FrameError
        If no source knows a plausible pixel size.
    """
    height_px, width_px = image_yx.shape
    bar = read_scale_bar(image_yx, databars)
    recorded_px = height_px - sum(rows.stop - rows.start for rows in databars)
    shapes_px = [(width_px, height_px), (width_px, recorded_px)]
    listed, problems = _list_candidates(known, bar, shapes_px)
    candidates = []
    for candidate in listed:
        problem = _find_implausible(candidate, width_px, known.known_magnification)
        if problem:
            problems.append(problem)
        else:
            candidates.append(candidate)
    flags = {IMPLAUSIBLE} if len(candidates) < len(listed) else set()
    if bar is None and databars:
        flags.add(UNREADABLE)
    if not candidates:
        candidates = _fall_back(known, params, width_px, problems)
    if not candidates:
        raise _unknown(where, problems)
    chosen = _choose(candidates)
    if _contradicts(chosen, width_px, known.known_magnification, _MAX_RATIO):
        flags.add(MAGNIFICATION)
    others = [other for other in candidates if other is not chosen]
    contrary = [other for other in others if not chosen.agrees_with(other)]
    flags |= ({CONFLICT} if contrary else set()) | ({RESIZED} if chosen.is_resized else set())
    other_um = next((other.value_um for other in (*contrary, *others)), None)
    return PixelSize(chosen.value_um, chosen.source, tuple(sorted(flags)), other_um)


def _list_candidates(
    known: KnownSizes, bar: ScaleBar | None, shapes_px: list[tuple[int, int]]
) -> tuple[list[_Candidate], list[str]]:
    """All values, the most trusted first, and what was found that is no value."""
    drawn, problems = [], []
    if bar is not None:
        drawn = [
            _Candidate(bar.length_um / bar.length_px, SCALE_BAR, _BAR_ERROR_PX / bar.length_px)
        ]
    stated = []
    for record in (known.embedded, known.sidecar):
        size, problem = find_stated_size(record)
        problems += [problem] if problem else []
        if size is None:
            continue
        if size.is_of_display and not _shows_the_field(size, shapes_px):
            problems.append("a pixel size of the display, whose field has other sides")
        else:
            stated.append(_fit_to_image(size, shapes_px, drawn))
    table = [] if known.table_um is None else [_Candidate(known.table_um, FRAME_TABLE)]
    exact = [each for each in stated if not each.is_resolution]
    weak = [each for each in stated if each.is_resolution]
    return [*table, *exact, *drawn, *weak], problems


def _fit_to_image(
    size: StatedSize, shapes_px: list[tuple[int, int]], drawn: list[_Candidate]
) -> _Candidate:
    """Take a stated size to the pixels of this image, which may be a reduced copy or a crop.

    The bar tells them apart; without one, a reduced copy is narrower and lower by one factor.
    """
    width_px = shapes_px[0][0]
    as_stated, reduced = (
        _Candidate(
            size.value_um * scale, METADATA, size.relative_error, size.unit_is_written,
            size.is_resolution, is_resized,
        )
        for scale, is_resized in (
            (1.0, size.shape_px is not None),
            (
                size.shape_px[0] / width_px if size.shape_px else 1.0,
                not (size.counts_scan or size.is_of_display),
            ),
        )
    )  # fmt: skip
    if size.shape_px is None or size.shape_px[0] == width_px or size.shape_px in [
        shape_px[::-1] for shape_px in shapes_px
    ]:  # fmt: skip
        return replace(as_stated, is_resized=False)
    if size.counts_scan or size.is_of_display:
        return reduced
    for bar in drawn:
        if as_stated.agrees_with(bar) != reduced.agrees_with(bar):
            return as_stated if as_stated.agrees_with(bar) else reduced
    return reduced if _shows_the_field(size, shapes_px) else as_stated


def _shows_the_field(size: StatedSize, shapes_px: list[tuple[int, int]]) -> bool:
    """Whether the sides of the image have the ratio of those that the metadata describe."""
    width_px, height_px = size.shape_px or shapes_px[0]
    return any(0.99 < height_px / height * width / width_px < 1.01 for width, height in shapes_px)


def _find_implausible(candidate: _Candidate, width_px: int, magnification: float | None) -> str:
    """Say what is implausible about a pixel size; empty if nothing is.

    A magnification is the width of a print or display over the width of the field of view.
    """
    field_um = candidate.value_um * width_px
    whole_um = candidate.value_um * max(width_px, _SCAN_PX)
    value = f"{candidate.value_um:.4g} um of {candidate.source}"
    if field_um > _MAX_FIELD_UM or whole_um < _MIN_FIELD_UM:
        return (
            f"{value}, which makes the frame {field_um:.4g} um wide (0.5 um to 20 mm is plausible)"
        )
    ratio_of_a_crop = _MAX_RATIO_OF_A_CROP if candidate.unit_is_written else _MAX_RATIO
    if _contradicts(candidate, width_px, magnification, ratio_of_a_crop):
        return (
            f"{value}, which contradicts the magnification x{magnification:g} (the frame would "
            f"be {field_um:.4g} um wide)"
        )
    return ""


def _contradicts(
    candidate: _Candidate, width_px: int, magnification: float | None, ratio_of_a_crop: float
) -> bool:
    """Whether a frame would be wider or narrower on a print than prints and displays are."""
    if not magnification:
        return False
    print_mm, whole_mm = (
        magnification * candidate.value_um * px / 1000 for px in (width_px, max(width_px, _SCAN_PX))
    )
    return print_mm > _PRINT_MM[1] * _MAX_RATIO or whole_mm < _PRINT_MM[0] / ratio_of_a_crop


def _choose(candidates: list[_Candidate]) -> _Candidate:
    """Choose among plausible values; the module's description says how."""
    first = candidates[0]
    bar = next((each for each in candidates if each.source == SCALE_BAR), None)
    if first.source != METADATA or first.is_resolution or bar is None:
        return first
    for stated in candidates[: candidates.index(bar)]:
        rounding = min(stated.relative_error + bar.relative_error, _MAX_ROUNDING)
        if stated.agrees_with(bar, max(_AGREEMENT, rounding)):
            return bar if bar.relative_error < stated.relative_error / _FINER else stated
    return first


def _fall_back(
    known: KnownSizes, params: PixelSizeParams, width_px: int, problems: list[str]
) -> list[_Candidate]:
    """Value of the parameter, if it has one for this frame that is plausible."""
    magnification = known.known_magnification
    value_um = params.find_fallback_um(known.class_name, magnification)
    if value_um is None:
        return []
    candidate = _Candidate(value_um, PARAMETER)
    if problem := _find_implausible(candidate, width_px, magnification):
        problems.append(problem)
        return []
    return [candidate]


def _unknown(where: str, problems: list[str]) -> FrameError:
    also = f"; {'; '.join(problems)}" if problems else ""
    return FrameError(
        where,
        found="no readable scale bar and no usable pixel size in the image file, a sidecar or "
        f"frames.csv{also}",
        expected="a pixel size",
        action="give pixel_size_um in frames.csv, or write the line 'sem_ingest: {reading: "
        "{pixel_size: {fallback_um: 0.27}}}' with your value (um per px; one number, or one by "
        "class or by magnification) to conf/local/parameters.yml",
    )
