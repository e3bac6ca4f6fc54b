"""Where the electrode lies in a volume, and how much of it is particles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import TomogramError
from ncm_kedro.particles.measure import Measurement

AXES = "zyx"
_HALF = 0.5
_EDGE = 0.1


@dataclass(frozen=True)
class Layer:
    """The electrode between its collector and its separator.

    Attributes
    ----------
    axis
        0, 1, 2 for z, y, x: across the electrode.
    low_um, high_um
        Where it begins and ends along the axis, from the volume's first corner.
    ends_low, ends_high
        Whether that end lies inside the volume; if not, the volume's face cuts the electrode, or
        the volume was cropped there.
    """

    axis: int
    low_um: float
    high_um: float
    ends_low: bool
    ends_high: bool

    @property
    def thickness_um(self) -> float:
        """Extent along the axis: a lower bound unless the layer is complete."""
        return self.high_um - self.low_um

    @property
    def complete(self) -> bool:
        """Whether both ends lie inside the volume."""
        return self.ends_low and self.ends_high


def find_layer(measurement: Measurement) -> Layer | None:
    """Find the layer that holds the particles.

    The labelled fraction of each slice of cells is compared with a tenth of its plateau, which is
    the median over the slices that reach half of the highest fraction. The layer runs between the
    outermost points at which the profile, taken as linear between the middles of slices, crosses
    that value; a profile that does not fall below it before the volume ends is cut there. Particles
    are round: equal balls of radius R evenly spread above a flat collector reach a tenth of the
    plateau 0.39 R from it (half of it at R).

    Parameters
    ----------
    measurement
        What was measured in the sample; without ``axis_to_collector`` no layer can be found.

    Returns
    -------
    Layer or None
        None where the axis is unknown or nothing is labelled.

    Raises
    ------
    TomogramError
        If the axis is not one of z, y, x with or without a sign.
    """
    axis = read_axis(measurement.axis_to_collector)
    if axis is None:
        return None
    share, edges_vx = profile_share(measurement, axis)
    if not len(share) or not share.max() > 0:
        return None
    edges_um = edges_vx * measurement.voxel_size_um[axis]
    plateau = np.median(share[share >= _HALF * share.max()])
    low, ends_low = _find_end(share, edges_um, _EDGE * plateau)
    high, ends_high = _find_end(share[::-1], edges_um[::-1], _EDGE * plateau)
    return Layer(axis, low, high, ends_low, ends_high)


def read_axis(axis_to_collector: str | None) -> int | None:
    """Return the position of an axis such as ``-z`` among z, y, x.

    Raises
    ------
    TomogramError
        If it is none of them.
    """
    if axis_to_collector is None:
        return None
    letter = axis_to_collector.lstrip("+-")
    if len(letter) != 1 or letter not in AXES:
        raise TomogramError(
            "axis_to_collector",
            found=repr(axis_to_collector),
            expected="z, y or x with a sign, such as -z for a collector at the first slice",
            action="mend it in the sample's .yml",
        )
    return AXES.index(letter)


def profile_share(
    measurement: Measurement, axis: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take the labelled fraction of the field of view in slices of cells across an axis.

    Returns
    -------
    share
        (n,), of the slices from the first to the last that the field of view reaches.
    edges
        (n + 1,), where slices begin and end (voxels from the volume's first face).
    """
    others = tuple(other for other in range(3) if other != axis)
    cells = measurement.cells
    filled = np.asarray(cells.filled, dtype=np.float64).sum(axis=others)
    per_slice = np.asarray(cells.valid, dtype=np.float64).sum(axis=others)
    seen = np.flatnonzero(per_slice > 0)
    if not len(seen):
        return np.zeros(0), np.zeros(1)
    first, last = int(seen[0]), int(seen[-1]) + 1
    edges = np.arange(first, last + 1, dtype=np.float64) * cells.edge_vx[axis]
    edges[-1] = min(edges[-1], measurement.shape_zyx[axis])
    share = np.divide(filled, per_slice, out=np.zeros_like(filled), where=per_slice > 0)
    return share[first:last], edges


def measure_share(measurement: Measurement, layer: Layer | None) -> float:
    """Return the fraction of the electrode's volume that is labelled.

    Within a layer this is what is labelled per area, over the layer's thickness: thickness times
    share is then the loading that was seen, wherever exactly the ends are put. Without one it is
    the fraction of the field of view.

    Returns
    -------
    float
        0 to 1; NaN where there is no field of view.
    """
    if layer is None:
        valid = int(np.sum(measurement.cells.valid))
        return float(np.sum(measurement.cells.filled) / valid) if valid else float("nan")
    share, edges_vx = profile_share(measurement, layer.axis)
    per_area_um = float(np.sum(share * np.diff(edges_vx)) * measurement.voxel_size_um[layer.axis])
    return min(per_area_um / layer.thickness_um, 1.0)


def _find_end(
    share: NDArray[np.float64], edges_um: NDArray[np.float64], level: float
) -> tuple[float, bool]:
    """Return where a profile first rises above a level, and whether it was below before."""
    middle = (edges_um[:-1] + edges_um[1:]) / 2
    first = int(np.argmax(share >= level))
    if first == 0:
        return float(edges_um[0]), False
    before, after = share[first - 1], share[first]
    part = (level - before) / (after - before)
    return float(middle[first - 1] + part * (middle[first] - middle[first - 1])), True
