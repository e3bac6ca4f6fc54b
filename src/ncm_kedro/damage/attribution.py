"""What was found set beside what was simulated, where the samples are phantoms.

What explains the damage of the particles of each sample, and how sure that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.damage.explaining import make_rng
from ncm_kedro.damage.grouping import EXACT_GROUPS, label_group
from ncm_kedro.damage.preparation import DamageData
from ncm_kedro.damage.resampling import (
    AttributionProblem,
    Repeated,
    repeat_cross_validation,
    repeat_explanations,
)
from ncm_kedro.damage.significance import (
    average_shap,
    compare_importance,
    tabulate_attributes_alone,
    tabulate_importance,
    tabulate_ranks,
    tabulate_scores,
)
from ncm_kedro.params.damage_attribution import AttributionParams, DamageForestParams
from ncm_kedro.particles.columns import UNCERTAINTY

FloatArray = NDArray[np.float64]

SIMULATED_ATTRIBUTES = {"depth": "z_um", "contact": "contact", "size": "volume_um3"}
"""Attribute that measures each driver of the damage model."""

TRUTH_COLUMNS = (
    "sample", "driver", "attribute", "simulated_weight", "group", "rank", "explained",
    "significant",
    "direction", "direction_agrees",
)  # fmt: skip


def evaluate_simulated(
    importance: pd.DataFrame, attributes: pd.DataFrame, truth: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Set the ranks of the simulated drivers beside their weights.

    The weight of a driver is taken from the simulated damage itself: least squares of its logit on
    the standardised drivers.

    Parameters
    ----------
    importance
        What `significance.tabulate_importance` returned of all samples.
    attributes
        What `significance.tabulate_attributes_alone` returned of all samples.
    truth
        By sample the known particles: ``simulated_damage, depth_um, contact_neighbours,
        diameter_um``; those of unknown ones are omitted.

    Returns
    -------
    DataFrame
        `TRUTH_COLUMNS`, a row per sample and driver, the largest weight first.
    """
    rows = []
    for sample, particles in truth.items():
        weights = measure_weights(particles)
        own = importance[(importance["sample"] == sample) & (importance["kind"] == "group")]
        alone = attributes[attributes["sample"] == sample].set_index("attribute")
        for driver, weight in sorted(weights.items(), key=lambda item: -abs(item[1])):
            name = SIMULATED_ATTRIBUTES[driver]
            holds = own["members"].map(lambda members, name=name: name in members.split(", "))
            found = own[holds.astype(bool)]
            if found.empty:
                continue
            group = found.iloc[0]
            direction = float(alone["direction"].loc[name])
            rows.append(
                (sample, driver, name, weight, group["group"], group["rank"], group["explained"],
                 bool(group["significant"]), direction, direction * weight > 0)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(TRUTH_COLUMNS))


def measure_weights(particles: pd.DataFrame) -> dict[str, float]:
    """Measure how the simulated damage of particles goes with its drivers.

    Parameters
    ----------
    particles
        ``simulated_damage, depth_um, contact_neighbours, diameter_um``.

    Returns
    -------
    dict
        By driver the change of the damage's logit for one standard deviation.
    """
    diameter = particles["diameter_um"].to_numpy(dtype=np.float64)
    drivers = {
        "depth": particles["depth_um"].to_numpy(dtype=np.float64),
        "contact": particles["contact_neighbours"].to_numpy(dtype=np.float64) / diameter**2,
        "size": diameter,
    }
    scaled = [(v - v.mean()) / v.std() if np.ptp(v) > 0 else 0 * v for v in drivers.values()]
    simulated = particles["simulated_damage"].to_numpy(dtype=np.float64)
    logit = np.log(simulated / (1.0 - simulated))
    weights: FloatArray = np.linalg.lstsq(
        np.column_stack([np.ones(len(logit)), *scaled]), logit, rcond=None
    )[0][1:]
    return {driver: float(weight) for driver, weight in zip(drivers, weights, strict=True)}


@dataclass(frozen=True)
class Attribution:
    """Tables of what explains damage.

    Attributes
    ----------
    importance
        Groups of attributes by sample, see `significance.tabulate_importance`.
    attributes
        Attributes alone, see `significance.tabulate_attributes_alone`.
    scores
        Forest, linear model and mean, see `significance.tabulate_scores`.
    differences
        Between consecutive samples, see `significance.compare_importance`; empty where samples
        cannot be compared.
    ranks
        With attributes moved within their uncertainty, see `significance.tabulate_ranks`.
    shap
        A row per particle: ``sample, particle_id, damage, prediction, base`` and the out-of-sample
        SHAP value of every attribute, in units of damage, mean over the repeats.
    leaks
        The ranking with leaky attributes included: ``sample, group,
        members, leaking, explained, mean_abs_shap, r2``.
    """

    importance: pd.DataFrame
    attributes: pd.DataFrame
    scores: pd.DataFrame
    differences: pd.DataFrame
    ranks: pd.DataFrame
    shap: pd.DataFrame
    leaks: pd.DataFrame


def attribute_damage(
    data: DamageData, forest: DamageForestParams, params: AttributionParams
) -> Attribution:
    """Explain the damage of every sample out of sample, with intervals and p-values.

    Parameters
    ----------
    data
        Usable particles and what may explain their damage.
    params
        How often it is done again.
    """
    problems = [build_problem(data, sample) for sample in data.samples]
    found = repeat_explanations(problems, forest, params)
    labels = [label_group(group) for group in data.groups]
    members = [", ".join(group) for group in data.groups]
    pairs = list(zip(problems, found, strict=True))
    compared = list(zip(data.samples, found, strict=True)) if data.comparable else []
    return Attribution(
        importance=_join(tabulate_importance(p, f, labels, members, params) for p, f in pairs),
        attributes=_join(tabulate_attributes_alone(p, f, data.inputs) for p, f in pairs),
        scores=_join(
            tabulate_scores(p, f, params, make_rng(params.seed, p.sample, "scores"))
            for p, f in pairs
        ),
        differences=compare_importance(compared, labels, params),
        ranks=_join(tabulate_ranks(p, f, labels) for p, f in pairs),
        shap=_join(_tabulate_shap(data, p, f) for p, f in pairs),
        leaks=_explain_with_leaks(data, forest, params),
    )


def build_problem(data: DamageData, sample: str) -> AttributionProblem:
    """Take a sample's particles out as arrays."""
    rows = data.rows[data.rows["sample"] == sample]
    names = list(data.inputs)
    return AttributionProblem(
        sample=sample,
        values_np=rows[names].to_numpy(dtype=np.float64),
        uncertainty_np=np.column_stack([_take_uncertainty(rows, name) for name in names]),
        damage=rows["damage"].to_numpy(dtype=np.float64),
        damage_uncertainty=_take_uncertainty(rows, "damage"),
        blocks=rows["block"].to_numpy(dtype=np.int64),
        groups=[[names.index(name) for name in group] for group in data.groups],
    )


def _take_uncertainty(rows: pd.DataFrame, name: str) -> FloatArray:
    column = f"{name}{UNCERTAINTY}"
    if column not in rows:
        return np.zeros(len(rows))
    return rows[column].fillna(0.0).to_numpy(dtype=np.float64)


def _tabulate_shap(data: DamageData, problem: AttributionProblem, found: Repeated) -> pd.DataFrame:
    rows = data.rows[data.rows["sample"] == problem.sample]
    table = rows[["sample", "particle_id", "damage"]].reset_index(drop=True)
    table["prediction"] = np.mean([each.prediction for each in found.repeats], axis=0)
    table["base"] = np.mean([each.base for each in found.repeats], axis=0)
    worth = average_shap(found.repeats, 1)
    return table.join(pd.DataFrame(worth[:, : len(data.inputs)], columns=list(data.inputs)))


def _explain_with_leaks(
    data: DamageData, forest: DamageForestParams, params: AttributionParams
) -> pd.DataFrame:
    """Explain once more with the attributes that hold the damage, unknown values below all."""
    leaking = _group_exactly(data.leaking)
    groups = [*data.groups, *leaking]
    columns = [*data.inputs, *data.leaking]
    open_data = replace(
        data,
        rows=data.rows.assign(**{name: _fill(data.rows[name]) for name in data.leaking}),
        inputs=tuple(columns),
        groups=tuple(groups),
    )
    problems = [build_problem(open_data, sample) for sample in data.samples]
    tables = []
    for problem, whole in zip(
        problems, repeat_cross_validation(problems, forest, params), strict=True
    ):
        repeats = [explained for explained, _ in whole]
        table = pd.DataFrame(
            {
                "sample": problem.sample,
                "group": [label_group(group) for group in groups],
                "members": [", ".join(group) for group in groups],
                "leaking": [group in leaking for group in groups],
                "explained": np.mean([each.share_r2() for each in repeats], axis=0)[:-1],
                "mean_abs_shap": np.mean(
                    [np.abs(each.shap[0]).mean(axis=0) for each in repeats], axis=0
                )[:-1],
                "r2": np.mean([each.r2 for each in repeats]),
            }
        )
        tables.append(table.sort_values("explained", ascending=False, ignore_index=True))
    return _join(tables)


def _group_exactly(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Put names that are equivalent by definition into one group."""
    together = [tuple(n for n in names if n in group) for group in EXACT_GROUPS]
    taken = {name for group in together for name in group}
    return [group for group in together if group] + [(n,) for n in names if n not in taken]


def _fill(values: pd.Series) -> pd.Series:
    known = values.astype(float)
    lowest, highest = known.min(), known.max()
    return known.fillna(lowest - 0.1 * (highest - lowest) - 1.0)


def _join(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(tables), ignore_index=True)
