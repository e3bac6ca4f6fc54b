"""What the grey values of a volume are: polarity, robust range, or a map of phases.

The detector knows bright particles in darker surroundings. A volume of the other polarity, one of a
few values, or one without contrast gives labels that look like any others: so this is found out
first, and said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from skimage.filters import threshold_multiotsu

from ncm_kedro.params.tomo_segment import TomoFusionParams
from ncm_kedro.tomo.detector.detector import Detector
from ncm_kedro.tomo.fusion.scale import GreyReading, choose_source, make_grid, read_masked
from ncm_kedro.tomo.fusion.size import (
    CONVINCING,
    MIN_FOUND,
    ScaleEstimate,
    measure_diameter_um,
    read_samples,
    survey_scales,
)
from ncm_kedro.tomo.volumes.volume import GREY_PERCENTILES, Volume

Kind = Literal["bright", "dark", "phases"]

_MOST_PHASES = 4  # a map of so few values holds no grey values
_STEPS = 0.9  # of neighbours are equal in labels; in grey values of few bits half of them
_BELOW, _ABOVE = 1.0, 0.5  # beyond the range by these fractions of it: hot or dead voxels
_CLEARER = 3.0  # times as much must be covered where grey values are inverted
_SURE = 0.75  # median probability of true particles' centres is higher, of mistaken ones' lower
_TWO_PHASES = 0.75  # Otsu's separability: noise has 0.64, even grey values 0.75
_DENSE = 0.6  # of the volume is bright where particles touch all around
_AIR_RIM = 0.95  # of the rim of a section is air around a sample
_SECTIONS, _SECTION_VX = 9, 128  # that are looked at for it
_THICK = 0.5  # of a phase is not at its surface; of a blurred surface all is


@dataclass(frozen=True)
class Contrast:
    """How a volume is read.

    Attributes
    ----------
    kind
        ``bright``: particles are brighter than their surroundings; ``dark``: darker, grey values
        are inverted; ``phases``: a map of a few values, or grey values that are read as two.
    low, high
        Values beyond these are hot or dead voxels and count as these.
    diameter_um
        Median diameter of the particles' sections; None for phases.
    phase
        Value of the particles in a map of phases.
    above
        Whether particles are what exceeds ``phase`` in smoothed grey values.
    warnings
        What the user must know.
    """

    kind: Kind
    low: float
    high: float
    diameter_um: float | None = None
    phase: float = 0.0
    above: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def reading(self) -> GreyReading:
        """How grey values are read."""
        return GreyReading(self.low, self.high, self.kind == "dark")


def find_contrast(volume: Volume, network: Detector, params: TomoFusionParams) -> Contrast:
    """Find out what the grey values of a volume are.

    Polarity is decided by the detector itself: on a few sections it looks for particles in the grey
    values as they are and, unless these convince it, inverted. Where neither does, and most of the
    volume is bright and the rest clearly darker, particles touch all around, with gaps too thin for
    the detector: the bright part is labelled like a phase.

    Raises
    ------
    StoreError
        If nothing is inside the field of view, or all grey values are the same.
    """
    boxes = read_samples(
        volume, choose_source(volume, make_grid(volume, min(volume.voxel_size_um)))
    )
    levels = np.unique(np.concatenate([np.unique(values) for values, _ in boxes]))
    if len(levels) <= _MOST_PHASES:
        return _take_phases(levels, params)
    warnings = _warn_of_steps(boxes, len(levels))
    smooth = np.concatenate([_smooth_inside(values, inside) for values, inside in boxes])
    low, high = (float(value) for value in np.percentile(smooth, GREY_PERCENTILES))
    span = (high - low) or float(levels[-1]) - float(levels[0])
    read = Contrast("bright", low - _BELOW * span, high + _ABOVE * span, warnings=warnings)
    known, fill = _raise_air(volume, read), float(np.median(smooth))
    parts = _part_greys(np.clip(smooth.astype(np.float64), low - span, high + span))
    if params.contrast != "auto":
        known = replace(known, kind=params.contrast)
        if params.particle_diameter_um is not None:
            return replace(known, diameter_um=params.particle_diameter_um)
        found = _survey(volume, network, known, fill, params)
    else:
        known, found = _choose_polarity(volume, network, known, fill, params)
        unseen = known.kind == "bright" and found.covered < CONVINCING
        if unseen and parts.is_dense and params.particle_diameter_um is None:
            return _take_bright(known, parts)
    if len(found.diameters_px) < MIN_FOUND:
        known = replace(known, warnings=(*known.warnings, _name_cause(parts)))
    diameter_um = params.particle_diameter_um
    if diameter_um is None:
        diameter_um = measure_diameter_um(volume, network, known.reading, fill, found)
    return replace(known, diameter_um=diameter_um)


def _take_phases(levels: NDArray[np.float32], params: TomoFusionParams) -> Contrast:
    values = tuple(float(level) for level in levels)
    named = ", ".join(f"{value:g}" for value in values)
    wanted = values[-1] if params.particle_phase is None else params.particle_phase
    told = (
        f"a map of the values {named}, no grey values: particles are what has the value "
        f"{wanted:g} (fusion.particle_phase, or the largest), cut apart by their distance "
        "transform; the detector was not used, and outlines were not refined"
    )
    return Contrast("phases", values[0], values[-1], phase=wanted, warnings=(told,))


def _warn_of_steps(
    boxes: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_] | None]], levels: int
) -> tuple[str, ...]:
    """Warn where most neighbours along x are equal, as in labels and maps of many phases."""
    equal = []
    for values, inside in boxes:
        same = values[..., 1:] == values[..., :-1]
        equal.append(same.ravel() if inside is None else same[inside[..., 1:] & inside[..., :-1]])
    share = float(np.concatenate(equal).mean())
    if share < _STEPS:
        return ()
    return (
        f"{share:.0%} of neighbouring voxels are equal: this looks like labels or a map of "
        f"{levels} phases rather than grey values, which the detector needs; give the "
        f"reconstruction, or a map of at most {_MOST_PHASES} values",
    )


def _smooth_inside(
    values_zyx: NDArray[np.float32], inside_zyx: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """Take single hot voxels out by a median over 3 x 3 voxels of each plane."""
    smooth = np.stack([cv2.medianBlur(plane, 3) for plane in values_zyx])
    return smooth.ravel() if inside_zyx is None else smooth[inside_zyx]


def _raise_air(volume: Volume, known: Contrast) -> Contrast:
    """Read air around a sample as the sample's matrix: its surface would be taken for outlines."""
    extent_um = float(np.min(np.multiply(volume.shape_zyx, volume.voxel_size_um)))
    source = choose_source(volume, make_grid(volume, extent_um / _SECTION_VX), known.reading)
    depth, height, width = source.array.shape
    sections = []
    for z in np.unique(np.linspace(0, depth - 1, _SECTIONS).astype(int)):
        read, inside = read_masked(source, (slice(z, z + 1), slice(0, height), slice(0, width)))
        seen_yx = np.ones((height, width), np.bool_) if inside is None else inside[0]
        sections.append((cv2.medianBlur(read[0], 3), seen_yx))
    try:
        air, bright = threshold_multiotsu(np.concatenate([s[seen] for s, seen in sections]))
    except ValueError:  # fewer values than three classes
        return known
    rim = np.concatenate([s[seen & ~binary_erosion(seen, iterations=2)] for s, seen in sections])
    parts = [(s > air) & (s <= bright) & seen for s, seen in sections]
    thick = sum(int(binary_erosion(part).sum()) for part in parts)
    if thick < _THICK * sum(map(np.count_nonzero, parts)) or (rim <= air).mean() < _AIR_RIM:
        return known
    matrix = float(
        np.median(np.concatenate([s[p] for (s, _), p in zip(sections, parts, strict=True)]))
    )
    told = (
        f"air surrounds the sample: at the edges of the field of view {(rim <= air).mean():.0%} is "
        f"darker than {air:.4g}; it was read as the grey value of the sample's matrix, "
        f"{matrix:.4g}, as the surface of the sample would be taken for that of a particle"
    )
    return replace(known, low=matrix, warnings=(*known.warnings, told))


def _survey(
    volume: Volume, network: Detector, known: Contrast, fill: float, params: TomoFusionParams
) -> ScaleEstimate:
    edge_um = None
    if params.particle_diameter_um is not None:
        edge_um = params.particle_diameter_um / network.particle_px
    return survey_scales(volume, network, known.reading, fill, edge_um)


def _choose_polarity(
    volume: Volume, network: Detector, bright: Contrast, fill: float, params: TomoFusionParams
) -> tuple[Contrast, ScaleEstimate]:
    found = _survey(volume, network, bright, fill, params)
    if found.covered >= CONVINCING or found.confidence >= _SURE:
        return bright, found
    dark = replace(bright, kind="dark")
    other = _survey(volume, network, dark, fill, params)
    clear = other.confidence >= _SURE and other.covered > _CLEARER * found.covered
    if not clear or len(other.diameters_px) < MIN_FOUND:
        return bright, found
    told = (
        f"particles look darker than their surroundings: on a few sections the detector finds "
        f"{len(other.diameters_px)} in inverted grey values and {len(found.diameters_px)} as they "
        "are, so labels were made from inverted ones; look at them (fusion.contrast: bright or "
        "dark decides it)"
    )
    return replace(dark, warnings=(*bright.warnings, told)), other


def _take_bright(known: Contrast, parts: _TwoParts) -> Contrast:
    told = (
        f"grey values above {parts.threshold:.4g} fill {parts.bright:.0%} of the volume and the "
        "detector finds next to nothing: particles that touch all around; they were cut apart by "
        "the distance transform of the bright part, so that cracks may part them and outlines were "
        "not refined; look at the labels (where particles are the dark part, set fusion.contrast: "
        "dark; with fusion.contrast or fusion.particle_diameter_um set, the detector is used)"
    )
    return replace(
        known, kind="phases", phase=parts.threshold, above=True, warnings=(*known.warnings, told)
    )


def _name_cause(parts: _TwoParts) -> str:
    """Say why no particles may have been found."""
    if parts.separability < _TWO_PHASES:
        return (
            "no contrast: the detector finds no particles on a few sections, and the grey values "
            f"do not fall into two phases (Otsu's separability {parts.separability:.2f}; noise has "
            "0.64)"
        )
    return (
        "the detector finds hardly any particles on a few sections: these are unlike what it was "
        "trained on, or of another size; look at the voxel size, or set "
        "fusion.particle_diameter_um"
    )


@dataclass(frozen=True)
class _TwoParts:
    """Grey values parted in two.

    Attributes
    ----------
    threshold
        Between dark and bright.
    separability
        Largest fraction of the variance that two classes explain (Otsu 1979).
    bright
        Fraction above the threshold.
    """

    threshold: float
    separability: float
    bright: float

    @property
    def is_dense(self) -> bool:
        return self.separability >= _TWO_PHASES and self.bright >= _DENSE


def _part_greys(values: NDArray[np.float64]) -> _TwoParts:
    counts, edges = np.histogram(values, 512)
    middle = (edges[1:] + edges[:-1]) / 2
    weight = np.cumsum(counts) / counts.sum()
    mean = np.cumsum(counts * middle) / counts.sum()
    spread = weight[:-1] * (1 - weight[:-1])
    between = (mean[-1] * weight[:-1] - mean[:-1]) ** 2 / np.maximum(spread, 1e-12)
    variance = (counts * (middle - mean[-1]) ** 2).sum() / counts.sum()
    flat = np.flatnonzero(between >= between.max() * (1 - 1e-9))  # between two sharp values
    best = int(flat[len(flat) // 2])
    return _TwoParts(
        threshold=float(edges[best + 1]),
        separability=float(between[best] / max(variance, 1e-12)),
        bright=float(1 - weight[best]),
    )
