"""How far the segmentation could move an attribute.

Everything is measured again with outlines one voxel wider and one voxel tighter, and with the
threshold between solid and crack raised and lowered. Half the span of what comes out is the
attribute's uncertainty. It says nothing of noise, of the choice of definition, or of particles
that were not found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES
from ncm_kedro.particles.measure.attributes import tabulate_attributes
from ncm_kedro.particles.measure.measure import Measurement, measure_specimen
from ncm_kedro.particles.measure.specimen import Specimen
from ncm_kedro.particles.measure.variants import (
    CrackChange,
    CrackThresholds,
    LabelChange,
    VariedCracks,
    VariedLabels,
)

SUFFIX = "_uncertainty"
_ANGLES = ("yaw_deg", "pitch_deg", "roll_deg")


def measure_with_uncertainty(
    specimen: Specimen, params: AttributeParams, compute: TomoComputeParams, work: Path
) -> Measurement:
    """Measure a specimen and, where it is asked for, its variants.

    Parameters
    ----------
    specimen
        Labels and what is known beside them.
    params
        Lengths and choices; ``uncertainty`` asks for the variants.
    compute
        Who works on the blocks.
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
    attributes
        Attribute table of a sample.
    variants
        Attribute tables of its variants, one below the other; empty: nothing is added.

    Returns
    -------
    pandas.DataFrame
        Half the span over the table and its variants, in the attribute's unit; null where the
        attribute, or all its variants, are null. Angles turn by 180 degrees into themselves.
    """
    if variants.empty:
        return attributes
    made = attributes.copy()
    made.attrs = attributes.attrs
    base = attributes.set_index("particle_id")[list(ATTRIBUTE_NAMES)].astype(np.float64)
    kept = variants[variants["particle_id"].isin(base.index)]
    change = kept.set_index("particle_id")[list(ATTRIBUTE_NAMES)].astype(np.float64)
    change -= base.loc[change.index]
    for angle in _ANGLES:
        change[angle] = (change[angle] + 90) % 180 - 90
    by_particle = change.groupby(level=0)
    span = by_particle.max().clip(lower=0) - by_particle.min().clip(upper=0)
    half = (span / 2).reindex(base.index)
    for name in ATTRIBUTE_NAMES:
        made[f"{name}{SUFFIX}"] = half[name].to_numpy()
    return made


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


def _find_thresholds(measurement: Measurement, share: float) -> CrackThresholds:
    """Take each particle's threshold halfway between its solid and its cracks."""
    raw = measurement.particles
    raw = raw[(raw["label_solid"] > 0) & (raw["label_voxels"] > raw["label_solid"])]
    solid = raw["grey_solid"] / raw["label_solid"]
    crack = (raw["grey_label"] - raw["grey_solid"]) / (raw["label_voxels"] - raw["label_solid"])
    return CrackThresholds(
        label=raw["particle_id"].to_numpy(dtype=np.int64),
        threshold=((solid + crack) / 2).to_numpy(dtype=np.float64),
        shift=(share * (solid - crack).abs()).to_numpy(dtype=np.float64),
    )
