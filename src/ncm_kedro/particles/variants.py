"""How far the segmentation could move an attribute.

Everything is measured again with outlines one voxel wider and one voxel tighter, and with the
threshold between solid and crack raised and lowered. Half the span of what comes out is the
attribute's uncertainty. It does not cover noise, the choice of definition, or particles
that were not found.

The moved outlines are computed where they are read. What a voxel becomes depends on itself and its
six face neighbours alone, so that the result is the same for any blocks. They are read as Zarr
arrays are: by slices of step 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.attributes import tabulate_attributes
from ncm_kedro.particles.columns import ANGLES, ATTRIBUTE_NAMES, UNCERTAINTY
from ncm_kedro.particles.measure import Measurement, measure_specimen
from ncm_kedro.particles.specimen import Specimen, VoxelArray, read_box
from ncm_kedro.tomo.volumes.blocks import Block

LabelChange = Literal["tighter", "wider"]
CrackChange = Literal["as_marked", "more_solid", "less_solid"]


def measure_with_uncertainty(
    specimen: Specimen, params: AttributeParams, compute: TomoComputeParams, work: Path
) -> Measurement:
    """Measure a specimen and, where the uncertainty is requested, its variants.

    Parameters
    ----------
    params
        Lengths and choices; ``uncertainty`` requests the variants.
    work
        Folder for what finished blocks returned, see `measure_specimen`.

    Returns
    -------
    Measurement
        With the attributes of each variant in ``variants``.
    """
    measurement = measure_specimen(specimen, params, compute, work / "as_labelled")
    if not params.uncertainty:
        return measurement
    plain = params.model_copy(update={"crack_width": False, "profile_bins": 0})
    tables = []
    for change, varied in _vary(specimen, measurement, params):
        found = measure_specimen(varied, plain, compute, work / change)
        tables.append(tabulate_attributes(found, plain).assign(change=change))
    return replace(measurement, variants=pd.concat(tables, ignore_index=True))


def add_uncertainty(attributes: pd.DataFrame, variants: pd.DataFrame) -> pd.DataFrame:
    """Add a column ``<name>_uncertainty`` for each attribute.

    Parameters
    ----------
    variants
        Attribute tables of its variants, concatenated; empty: nothing is added.

    Returns
    -------
    pandas.DataFrame
        Half the span over the table and its variants, in the attribute's unit; null where the
        attribute, or all its variants, are null. Angles have a period of 180 degrees.
    """
    if variants.empty:
        return attributes
    names = list(ATTRIBUTE_NAMES)
    base = attributes.set_index("particle_id")[names].astype(np.float64)
    found = variants[variants["particle_id"].isin(base.index)]
    change = found.set_index("particle_id")[names].astype(np.float64)
    change -= base.loc[change.index]
    angles = list(ANGLES)
    change[angles] = (change[angles] + 90) % 180 - 90
    by_particle = change.groupby(level=0)
    span = by_particle.max().clip(lower=0) - by_particle.min().clip(upper=0)
    half = (span / 2).reindex(base.index).set_axis(attributes.index).add_suffix(UNCERTAINTY)
    made = pd.concat([attributes, half], axis=1)
    made.attrs = attributes.attrs
    return made


def compare_uncertainty(attributes: pd.DataFrame) -> pd.DataFrame:
    """Compare each attribute's uncertainty with its spread between particles.

    Parameters
    ----------
    attributes
        Attribute table of a sample, with the columns of `add_uncertainty`.

    Returns
    -------
    DataFrame
        A row per attribute that has an uncertainty, over the complete particles with a value and
        an uncertainty: ``attribute, n, uncertainty`` (median), ``spread`` (interquartile range; of
        angles, about their mean axis), ``ratio`` (null where all values are equal).
    """
    rows = []
    complete = attributes[~attributes["touches_border"].to_numpy(dtype=bool)]
    for name in ATTRIBUTE_NAMES:
        if f"{name}{UNCERTAINTY}" not in complete:
            continue
        both = complete[[name, f"{name}{UNCERTAINTY}"]].to_numpy(np.float64, na_value=np.nan)
        values, moved = both[np.isfinite(both).all(axis=1)].T
        if name in ANGLES:
            values = _unwrap_axes(values)
        known = len(values) > 0
        middle = float(np.median(moved)) if known else np.nan
        spread = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) if known else np.nan
        rows.append((name, len(values), middle, spread, middle / spread if spread > 0 else np.nan))
    return pd.DataFrame(rows, columns=["attribute", "n", "uncertainty", "spread", "ratio"])


@dataclass(frozen=True)
class VariedLabels:
    """Labels with every outline moved by one voxel.

    Attributes
    ----------
    labels
        Integers, (Z, Y, X), 0 is background.
    change
        ``tighter``: a voxel becomes background where a face neighbour holds another label or
        background. ``wider``: a background voxel takes the smallest label among its face
        neighbours.
    view
        Field of view, (Z, Y, X), above 0 inside; None: everywhere. Nothing is known outside: no
        outline recedes from there and none advances into it, as at the volume's faces.
    """

    labels: VoxelArray
    change: LabelChange
    view: VoxelArray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along z, y, x."""
        return tuple(self.labels.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the labels."""
        dtype: np.dtype[Any] = np.dtype(self.labels.dtype)
        return dtype

    def __getitem__(self, region: Any) -> NDArray[Any]:
        """Return the varied labels of a cut-out; it is read with a margin of one voxel."""
        inner, outer = _find_boxes(region, self.shape)
        labels = read_box(self.labels, outer)
        view = np.ones(outer.shape, np.bool_)
        if self.view is not None:
            view = read_box(self.view, outer) > 0
        varied = labels.copy()
        if self.change == "tighter":
            for near, seen in zip(_list_neighbours(labels), _list_neighbours(view), strict=True):
                varied[(near != labels) & seen] = 0
        else:
            unset = np.iinfo(labels.dtype).max
            smallest = np.full_like(labels, unset)
            for near in _list_neighbours(labels):
                np.minimum(smallest, np.where(near > 0, near, unset), out=smallest)
            gains = (labels == 0) & view & (smallest != unset)
            varied[gains] = smallest[gains]
        return np.ascontiguousarray(varied[inner.within(outer)])


@dataclass(frozen=True)
class CrackThresholds:
    """Grey values between solid and crack, by label.

    Attributes
    ----------
    label
        Labels in ascending order, (n,).
    threshold
        Grey value between crack (below) and solid (above), (n,).
    shift
        How far it is moved, (n,).
    """

    label: NDArray[np.int64]
    threshold: NDArray[np.float64]
    shift: NDArray[np.float64]


@dataclass(frozen=True)
class VariedCracks:
    """Cracks whose walls are moved by at most one voxel, where the grey values allow it.

    Attributes
    ----------
    cracks
        Above 0 in cracks and voids, (Z, Y, X); those outside ``labels`` do not count, so that a
        voxel that wider labels add is solid.
    labels
        Labels as they were measured, not varied, (Z, Y, X).
    change
        ``more_solid``: the threshold is lowered by the shift; crack voxels at a wall that are
        brighter become solid. ``less_solid``: it is raised; solid voxels at a wall that are darker
        become crack. ``as_marked``: neither. A wall lies between a crack voxel and a solid one
        that share a face and a label.
    grey
        Grey values, (Z, Y, X).
    thresholds
        By label. Labels that are not listed, or whose threshold is not a number, keep cracks.
    """

    cracks: VoxelArray
    labels: VoxelArray
    change: CrackChange = "as_marked"
    grey: VoxelArray | None = None
    thresholds: CrackThresholds | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along z, y, x."""
        return tuple(self.cracks.shape)

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Always uint8."""
        return np.dtype(np.uint8)

    def __getitem__(self, region: Any) -> NDArray[np.uint8]:
        """Return the varied cracks of a cut-out, 1 inside; read with a margin of one voxel."""
        inner, outer = _find_boxes(region, self.shape)
        labels = read_box(self.labels, outer)
        cracks = (read_box(self.cracks, outer) > 0) & (labels > 0)
        core = inner.within(outer)
        varied = cracks[core].copy()
        if self.change == "as_marked" or self.grey is None or self.thresholds is None:
            return varied.astype(np.uint8)
        at_wall = np.zeros_like(cracks)
        for near, near_cracks in zip(
            _list_neighbours(labels), _list_neighbours(cracks), strict=True
        ):
            at_wall |= (near == labels) & (near_cracks != cracks)
        solid_gains = self.change == "more_solid"
        changing = np.nonzero(at_wall[core] & (labels[core] > 0) & (varied == solid_gains))
        limit = self._find_limits(labels[core][changing], solid_gains)
        grey = read_box(self.grey, inner)[changing]
        varied[changing] ^= (grey > limit) if solid_gains else (grey < limit)
        return varied.astype(np.uint8)

    def _find_limits(self, labels: NDArray[Any], solid_gains: bool) -> NDArray[np.float64]:
        """Return the moved threshold of each voxel's label; not a number where there is none."""
        thresholds = self.thresholds
        if thresholds is None or not len(thresholds.label):
            return np.full(len(labels), np.nan)
        sign = -1.0 if solid_gains else 1.0
        place = np.searchsorted(thresholds.label, labels.astype(np.int64))
        place = np.minimum(place, len(thresholds.label) - 1)
        limit = thresholds.threshold[place] + sign * thresholds.shift[place]
        return np.where(thresholds.label[place] == labels, limit, np.nan)


def _find_boxes(region: Any, shape: tuple[int, ...]) -> tuple[Block, Block]:
    """Return the box that a region names, and the same with a margin of one voxel."""
    parts = region if isinstance(region, tuple) else (region,)
    parts = tuple(part for part in parts if part is not Ellipsis)
    if len(parts) > len(shape) or not all(isinstance(part, slice) for part in parts):
        raise IndexError(f"a varied volume is cut by slices along z, y, x, not by {region!r}")
    spans = [part.indices(n) for part, n in zip(parts, shape, strict=False)]
    spans += [(0, n, 1) for n in shape[len(parts) :]]
    if any(step != 1 for _, _, step in spans):
        raise IndexError(f"a varied volume is cut by slices of step 1, not by {region!r}")
    z, y, x = ((start, max(start, stop)) for start, stop, _ in spans)
    inner = Block(0, (z[0], y[0], x[0]), (z[1], y[1], x[1]))
    return inner, inner.grow(1, (shape[0], shape[1], shape[2]))


def _list_neighbours(values_zyx: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the values of the six face neighbours; at the array's faces a voxel is its own."""
    padded = np.pad(values_zyx, 1, mode="edge")
    for axis in range(3):
        for start in (0, 2):
            window = [slice(1, n + 1) for n in values_zyx.shape]
            window[axis] = slice(start, start + values_zyx.shape[axis])
            yield padded[tuple(window)]


def _vary(
    specimen: Specimen, measurement: Measurement, params: AttributeParams
) -> Iterator[tuple[str, Specimen]]:
    moves: tuple[LabelChange, ...] = ("wider", "tighter")
    for move in moves:
        cracks = None
        if specimen.cracks is not None:
            cracks = VariedCracks(specimen.cracks, specimen.labels)
        labels = VariedLabels(specimen.labels, move, specimen.view)
        yield move, replace(specimen, labels=labels, cracks=cracks)
    if specimen.cracks is None or specimen.grey is None:
        return
    thresholds = _find_thresholds(measurement, params.threshold_shift)
    shifts: tuple[CrackChange, ...] = ("more_solid", "less_solid")
    for shift in shifts:
        cracks = VariedCracks(specimen.cracks, specimen.labels, shift, specimen.grey, thresholds)
        yield shift, replace(specimen, cracks=cracks)


def _find_thresholds(measurement: Measurement, shift_fraction: float) -> CrackThresholds:
    """Take each particle's threshold halfway between its solid and its cracks."""
    raw = measurement.particles
    raw = raw[(raw["label_solid"] > 0) & (raw["label_voxels"] > raw["label_solid"])]
    solid = raw["grey_solid"] / raw["label_solid"]
    crack = (raw["grey_label"] - raw["grey_solid"]) / (raw["label_voxels"] - raw["label_solid"])
    return CrackThresholds(
        label=raw["particle_id"].to_numpy(dtype=np.int64),
        threshold=((solid + crack) / 2).to_numpy(dtype=np.float64),
        shift=(shift_fraction * (solid - crack).abs()).to_numpy(dtype=np.float64),
    )


def _unwrap_axes(angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return angles of axes, which have a period of 180 degrees, from their mean axis."""
    mean = np.rad2deg(np.angle(np.exp(2j * np.deg2rad(angles_deg)).sum())) / 2
    unwrapped: NDArray[np.float64] = (angles_deg - mean + 90.0) % 180.0 - 90.0
    return unwrapped
