"""What the grey values of a volume are: polarity, robust range, or a map of phases.

The detector knows bright particles in darker surroundings. A volume of the other polarity, one of a
few values, or one without contrast gives labels that look like any others: so this is found out
first, and said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.params.tomo_segment import TomoFusionParams
from ncm_kedro.tomo.detector.detector import Detector
from ncm_kedro.tomo.fusion.scale import GreyReading, choose_source, make_grid
from ncm_kedro.tomo.fusion.size import (
    MIN_FOUND,
    ScaleEstimate,
    measure_diameter_um,
    read_samples,
    survey_scales,
)
from ncm_kedro.tomo.volumes.volume import GREY_PERCENTILES, Volume

Kind = Literal["bright", "dark", "phases"]

_MOST_PHASES = 4  # a map of so few values holds no grey values
_BELOW, _ABOVE = 1.0, 0.5  # beyond the range by these fractions of it: hot or dead voxels
_CONVINCING = 0.05  # covered by particles that the detector is sure of: the polarity is right
_CLEARER = 3.0  # times as much must be covered where grey values are inverted
_SURE = 0.75  # median probability of true particles' centres is higher, of mistaken ones' lower
_TWO_PHASES = 0.75  # Otsu's separability: noise has 0.64, even grey values 0.75


@dataclass(frozen=True)
class Contrast:
    """How a volume is read.

    Attributes
    ----------
    kind
        ``bright``: particles are brighter than their surroundings; ``dark``: darker, grey values
        are inverted; ``phases``: a map of a few values.
    low, high
        Values beyond these are hot or dead voxels and count as these.
    diameter_um
        Median diameter of the particles' sections; None for phases.
    phase
        Value of the particles in a map of phases.
    warnings
        What the user must know.
    """

    kind: Kind
    low: float
    high: float
    diameter_um: float | None = None
    phase: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def reading(self) -> GreyReading:
        """How grey values are read."""
        return GreyReading(self.low, self.high, self.kind == "dark")


def find_contrast(volume: Volume, network: Detector, params: TomoFusionParams) -> Contrast:
    """Find out what the grey values of a volume are.

    Polarity is decided by the detector itself: on a few sections it looks for particles in the grey
    values as they are and, unless these convince it, inverted.

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
    smooth = np.concatenate([_smooth_inside(values, inside) for values, inside in boxes])
    low, high = (float(value) for value in np.percentile(smooth, GREY_PERCENTILES))
    span = max(high - low, float(levels[-1] - levels[0]) * 1e-6)
    known = Contrast("bright", low - _BELOW * span, high + _ABOVE * span)
    if params.contrast != "auto":
        known = replace(known, kind=params.contrast)
        if params.particle_diameter_um is not None:
            return replace(known, diameter_um=params.particle_diameter_um)
        found = _survey(volume, network, known, params)
    else:
        known, found = _choose_polarity(volume, network, known, params)
    if len(found.diameters_px) < MIN_FOUND:
        known = replace(known, warnings=(*known.warnings, _name_cause(smooth)))
    diameter_um = params.particle_diameter_um
    if diameter_um is None:
        diameter_um = measure_diameter_um(volume, network, known.reading, found)
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


def _smooth_inside(
    values_zyx: NDArray[np.float32], inside_zyx: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """Take single hot voxels out by a median over 3 x 3 voxels of each plane."""
    smooth = np.stack([cv2.medianBlur(plane, 3) for plane in values_zyx])
    return smooth.ravel() if inside_zyx is None else smooth[inside_zyx]


def _survey(
    volume: Volume, network: Detector, known: Contrast, params: TomoFusionParams
) -> ScaleEstimate:
    edge_um = None
    if params.particle_diameter_um is not None:
        edge_um = params.particle_diameter_um / network.particle_px
    return survey_scales(volume, network, known.reading, edge_um)


def _choose_polarity(
    volume: Volume, network: Detector, bright: Contrast, params: TomoFusionParams
) -> tuple[Contrast, ScaleEstimate]:
    found = _survey(volume, network, bright, params)
    if found.covered >= _CONVINCING or found.confidence >= _SURE:
        return bright, found
    dark = replace(bright, kind="dark")
    other = _survey(volume, network, dark, params)
    clear = other.confidence >= _SURE and other.covered > _CLEARER * found.covered
    if not clear or len(other.diameters_px) < MIN_FOUND:
        return bright, found
    told = (
        f"particles look darker than their surroundings: on a few sections the detector finds "
        f"{len(other.diameters_px)} in inverted grey values and {len(found.diameters_px)} as they "
        "are, so labels were made from inverted ones; look at them (fusion.contrast: bright or "
        "dark decides it)"
    )
    return replace(dark, warnings=(told,)), other


def _name_cause(values: NDArray[np.float32]) -> str:
    """Say why no particles may have been found."""
    share = _measure_separability(values)
    if share < _TWO_PHASES:
        return (
            "no contrast: the detector finds no particles on a few sections, and the grey values "
            f"do not fall into two phases (Otsu's separability {share:.2f}; noise has 0.64)"
        )
    return (
        "the detector finds hardly any particles on a few sections: these are unlike what it was "
        "trained on, or of another size; look at the voxel size, or set "
        "fusion.particle_diameter_um"
    )


def _measure_separability(values: NDArray[np.float32]) -> float:
    """Return the largest fraction of the variance that two classes explain (Otsu 1979)."""
    counts, edges = np.histogram(values, 512)
    middle = (edges[1:] + edges[:-1]) / 2
    weight = np.cumsum(counts) / counts.sum()
    mean = np.cumsum(counts * middle) / counts.sum()
    spread = weight[:-1] * (1 - weight[:-1])
    between = (mean[-1] * weight[:-1] - mean[:-1]) ** 2 / np.maximum(spread, 1e-12)
    variance = (counts * (middle - mean[-1]) ** 2).sum() / counts.sum()
    return float(between.max() / max(variance, 1e-12))
