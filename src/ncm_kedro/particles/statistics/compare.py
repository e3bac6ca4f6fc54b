"""What differs between samples, and between what was measured and what is known.

Every attribute of every pair of samples is compared by the difference of the medians, by the
Mann-Whitney U test and by Cliff's delta. The unit of these statistics is a particle; the particles
of one electrode are no replicates of the electrode, see `REPLICATE_CAVEAT`.

Whether what differs between particles is more than the segmentation could have moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ncm_kedro.params.particle_features import ParticleFigureParams
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, ATTRIBUTES
from ncm_kedro.particles.measure.uncertainty import SUFFIX
from ncm_kedro.particles.statistics.ranks import (
    adjust_holm,
    bootstrap_median,
    compare_ranks,
    estimate_cliffs_delta,
    name_effect,
)

FloatArray = NDArray[np.float64]

REPLICATE_CAVEAT = (
    "Particles of one electrode are no replicates: they share its making, its cell and its scan, "
    "and neighbours resemble each other. A small p-value says that these two volumes differ, not "
    "that cycling made them differ; with one electrode per stage no statistic can say that. The "
    "intervals are those of this volume's particles, not of another electrode."
)

COMPARISON_COLUMNS = (
    "sample_a", "sample_b", "attribute", "unit", "n_a", "n_b", "median_a", "median_b",
    "difference", "difference_low", "difference_high", "p_value", "p_holm",
    "cliffs_delta", "delta_low", "delta_high", "effect", "note",
)  # fmt: skip

ANGLES = ("yaw_deg", "pitch_deg", "roll_deg")
POSITIONS = ("x_um", "y_um", "z_um")

_PAPER_UNITS = {"orientation_isotropy": "degree"}
_NOTES = {
    **dict.fromkeys(ANGLES, "angles of axes wrap round and have no order: not tested"),
    **dict.fromkeys(POSITIONS, "depends on where the volume was cut out"),
    "electron_density": "depends on the grey scale of the scan",
    "homogeneity": "depends on the grey scale of the scan",
}
_TRUTH_PAIRS = {
    "equivalent_diameter_um": "diameter_um",
    "touching_particles": "contact_neighbours",
    "damage": "damage",
    "elongation": "elongation",
    "z_um": "z_um", "y_um": "y_um", "x_um": "x_um",
}  # fmt: skip


def order_samples(samples: Iterable[str], table: pd.DataFrame) -> list[str]:
    """Order samples by their cycles, then by name; those of unknown cycles come last.

    Parameters
    ----------
    samples
        Names.
    table
        Tomogram table: ``sample, cycles``.
    """
    cycles = dict(zip(table["sample"], table["cycles"].astype(float), strict=True))

    def place(sample: str) -> tuple[float, str]:
        count = cycles.get(sample, np.nan)
        return (np.inf if np.isnan(count) else count, sample)

    return sorted(samples, key=place)


def select_values(attributes: pd.DataFrame, name: str) -> FloatArray:
    """Return the values of the whole particles that have one, (N,).

    Parameters
    ----------
    attributes
        Attribute table of a sample.
    name
        Attribute.
    """
    whole = ~attributes["touches_border"].to_numpy(dtype=bool)
    values: FloatArray = attributes[name].to_numpy(dtype=np.float64, na_value=np.nan)[whole]
    return values[np.isfinite(values)]


def find_unit(name: str, attributes: Mapping[str, pd.DataFrame]) -> str:
    """Return an attribute's unit, which for some goes by the preset that it was measured with.

    Parameters
    ----------
    name
        Attribute.
    attributes
        Attribute table by sample; ``attrs["preset"]`` of the first that has one decides.
    """
    presets = (table.attrs.get("preset") for table in attributes.values())
    if next((preset for preset in presets if preset), None) == "paper" and name in _PAPER_UNITS:
        return _PAPER_UNITS[name]
    return next(attribute.unit for attribute in ATTRIBUTES if attribute.name == name)


def compare_samples(
    attributes: Mapping[str, pd.DataFrame], table: pd.DataFrame, params: ParticleFigureParams
) -> pd.DataFrame:
    """Compare every attribute between every two samples.

    Particles that touch the border are left out of every row, positions included.

    Parameters
    ----------
    attributes
        Attribute table by sample.
    table
        Tomogram table: ``sample, cycles``; ``a`` is the sample of fewer cycles.
    params
        Confidence level, resamples and seed.

    Returns
    -------
    DataFrame
        `COMPARISON_COLUMNS`, a row per pair and attribute: ``n`` particles that are whole and have
        a value; medians; ``difference`` of the medians (b minus a) with its bootstrap interval;
        Mann-Whitney U, two-sided, as it is and after Holm (1979) over the attributes of the pair;
        Cliff's delta (positive: larger in b) with its interval, and a word for its size after
        Romano et al. (2006). Null where a sample has no value, or the attribute has no order.
        ``attrs["caveat"]`` holds `REPLICATE_CAVEAT`.
    """
    rng = np.random.default_rng(params.seed)
    parts = []
    for first, second in combinations(order_samples(attributes, table), 2):
        rows = [
            {
                "sample_a": first, "sample_b": second,
                "attribute": attribute.name, "unit": find_unit(attribute.name, attributes),
                **_compare_values(
                    select_values(attributes[first], attribute.name),
                    select_values(attributes[second], attribute.name),
                    ordered=attribute.name not in ANGLES, params=params, rng=rng,
                ),
                "note": _NOTES.get(attribute.name, ""),
            }
            for attribute in ATTRIBUTES
        ]  # fmt: skip
        part = pd.DataFrame(rows)
        parts.append(part.assign(p_holm=adjust_holm(part["p_value"].to_numpy(dtype=np.float64))))
    result = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    result = result.reindex(columns=list(COMPARISON_COLUMNS))
    result.attrs["caveat"] = REPLICATE_CAVEAT
    return result


def pair_with_truth(
    attributes: pd.DataFrame,
    details: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    same_labels: bool,
    voxel_size_um: tuple[float, float, float] | None = None,
) -> pd.DataFrame:
    """Set what was measured beside what is known of the same particle.

    Parameters
    ----------
    attributes, details
        Tables of one sample.
    truth
        Known particles: ``particle_id, x_um, y_um, z_um, diameter_um, elongation,
        contact_neighbours, damage, voxel_count, touches_border``.
    same_labels
        Whether the true labels were measured, so that a particle has the same number in both;
        otherwise two particles belong together if each is the other's nearest and their centres
        are no further apart than half the true diameter.
    voxel_size_um
        Edges along z, y, x. With it the true volume is that of the voxels, and the true centres
        are moved by half a voxel: phantoms count from the centre of the first voxel, attributes
        from the volume's corner. Without it the volume is that of the ball of the true diameter.

    Returns
    -------
    DataFrame
        A row per pair: ``particle_id, truth_id, distance_um`` between the centres,
        ``touches_border`` in either, and ``<name>_true, <name>_measured`` for ``volume_um3,
        equivalent_diameter_um, touching_particles, damage, elongation, z_um, y_um, x_um``.
    """
    measured = attributes.merge(
        details.drop(columns="sample", errors="ignore"), on="particle_id", validate="1:1"
    )
    known = _know_particles(truth, voxel_size_um)
    here, there = (
        _match_numbers(measured, known) if same_labels else _match_centres(measured, known)
    )
    measured, known = measured.iloc[here], known.iloc[there]
    columns: dict[str, Any] = {
        "particle_id": measured["particle_id"].to_numpy(),
        "truth_id": known["particle_id"].to_numpy(),
        "distance_um": np.linalg.norm(_take_centres(measured) - _take_centres(known), axis=1),
        "touches_border": measured["touches_border"].to_numpy(dtype=bool)
        | known["touches_border"].to_numpy(dtype=bool),
    }
    for name, true_name in {"volume_um3": "volume_um3", **_TRUTH_PAIRS}.items():
        columns[f"{name}_true"] = known[true_name].to_numpy(dtype=np.float64)
        columns[f"{name}_measured"] = measured[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.DataFrame(columns)


def _compare_values(
    a: FloatArray,
    b: FloatArray,
    *,
    ordered: bool,
    params: ParticleFigureParams,
    rng: np.random.Generator,
) -> dict[str, Any]:
    found: dict[str, Any] = {"n_a": len(a), "n_b": len(b), "effect": ""}
    numbers = COMPARISON_COLUMNS[6:16]
    found |= dict.fromkeys(numbers, np.nan)
    if not ordered or not len(a) or not len(b):
        return found
    tail = (1.0 - params.confidence) / 2
    drawn = bootstrap_median(b, params.resamples, rng) - bootstrap_median(a, params.resamples, rng)
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    delta, delta_low, delta_high = estimate_cliffs_delta(a, b, params.confidence)
    median_a, median_b = float(np.median(a)), float(np.median(b))
    values = (
        median_a, median_b, median_b - median_a, float(low), float(high), compare_ranks(a, b),
        np.nan, delta, delta_low, delta_high,
    )  # fmt: skip
    return found | dict(zip(numbers, values, strict=True)) | {"effect": name_effect(delta)}


def _know_particles(
    truth: pd.DataFrame, voxel_size_um: tuple[float, float, float] | None
) -> pd.DataFrame:
    if voxel_size_um is None:
        diameter = truth["diameter_um"].to_numpy(dtype=np.float64)
        return truth.assign(volume_um3=np.pi / 6 * diameter**3)
    moved = {
        f"{axis}_um": truth[f"{axis}_um"] + edge / 2
        for axis, edge in zip("zyx", voxel_size_um, strict=True)
    }
    volume = truth["voxel_count"].to_numpy(dtype=np.float64) * float(np.prod(voxel_size_um))
    return truth.assign(volume_um3=volume, **moved)


def _match_numbers(
    measured: pd.DataFrame, known: pd.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    _, here, there = np.intersect1d(
        measured["particle_id"], known["particle_id"], assume_unique=True, return_indices=True
    )
    return here, there


def _match_centres(
    measured: pd.DataFrame, known: pd.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    nobody = np.zeros(0, dtype=np.int64)
    if measured.empty or known.empty:
        return nobody, nobody
    mine, theirs = _take_centres(measured), _take_centres(known)
    distance, there = cKDTree(theirs).query(mine)
    _, back = cKDTree(mine).query(theirs)
    reach = known["diameter_um"].to_numpy(dtype=np.float64)[there] / 2
    here = np.flatnonzero((back[there] == np.arange(len(mine))) & (distance <= reach))
    return here, there[here]


def _take_centres(table: pd.DataFrame) -> FloatArray:
    return table[["z_um", "y_um", "x_um"]].to_numpy(dtype=np.float64)


def weigh_uncertainty(attributes: pd.DataFrame) -> pd.DataFrame:
    """Set how far the segmentation could move each attribute beside how far particles differ.

    Parameters
    ----------
    attributes
        Attribute table of a sample, as `particles.measure.uncertainty.add_uncertainty` made it.

    Returns
    -------
    DataFrame
        A row per attribute that has an uncertainty, over the whole particles with a value and an
        uncertainty: ``attribute, n, uncertainty`` (median), ``spread`` (between the quartiles of
        the particles; of angles, about their mean axis), ``ratio`` (null where nothing differs).
    """
    rows = []
    whole = attributes[~attributes["touches_border"].to_numpy(dtype=bool)]
    for name in ATTRIBUTE_NAMES:
        if f"{name}{SUFFIX}" not in whole:
            continue
        both = whole[[name, f"{name}{SUFFIX}"]].to_numpy(dtype=np.float64, na_value=np.nan)
        values, moved = both[np.isfinite(both).all(axis=1)].T
        if name in ANGLES:
            values = _unwrap_axes(values)
        known = len(values) > 0
        middle = float(np.median(moved)) if known else np.nan
        spread = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) if known else np.nan
        ratio = middle / spread if spread > 0 else np.nan
        rows.append((name, len(values), middle, spread, ratio))
    return pd.DataFrame(rows, columns=["attribute", "n", "uncertainty", "spread", "ratio"])


def _unwrap_axes(angles_deg: FloatArray) -> FloatArray:
    """Return angles of axes, which turn by 180 degrees into themselves, from their mean axis."""
    mean = np.rad2deg(np.angle(np.exp(2j * np.deg2rad(angles_deg)).sum())) / 2
    unwrapped: FloatArray = (angles_deg - mean + 90.0) % 180.0 - 90.0
    return unwrapped
