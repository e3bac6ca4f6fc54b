"""Spatial autocorrelation of damage, and whether it changes with cycling.

Moran's I of damage on the graph of particles in contact (Moran 1950, Biometrika 37, 17), with
binary symmetric weights (Cliff and Ord 1981, Spatial Processes, chapter 1): every contact counts
once, a particle without contact does not count among the neighbours. Permuting damage over the
particles gives the null distribution; the delete-one-block jackknife gives the intervals
(Shao and Wu 1989, Annals of Statistics 17, 1176).

Moran's I is diluted by what blurs single values of damage, such as errors of the segmentation. The
intervals are those of these volumes: one electrode of a kind is no replicate of its kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ncm_kedro.damage.autocorrelation import (
    DAMAGE,
    RESIDUAL,
    describe_field,
    list_contacts,
    list_nearest,
    permute_field,
)
from ncm_kedro.errors import TableError
from ncm_kedro.params.damage_attribution import AttributionParams

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SYNCHRONY_COLUMNS = (
    "sample_a", "sample_b", "quantity", "value", "low", "high", "expected", "p_value",
    "n_particles", "n_pairs", "graph",
)  # fmt: skip
QUANTITIES = {
    "morans_i": "Moran's I of damage",
    "morans_i_ranks": "Moran's I of the ranks of damage",
    "morans_i_residual": "Moran's I of what the model does not explain",
    "pair_difference": "difference of damage between neighbours over that of all pairs",
    "spread": "standard deviation of damage",
    "spread_relative": "coefficient of variation of damage",
    "spread_logit": "interquartile range of the logit of damage",
}
"""What each quantity is; all are pure numbers."""

CONTACT_GRAPH = "contact"
NEAREST_GRAPH = "six nearest"


@dataclass(frozen=True)
class _Field:
    """Values on the particles of one sample.

    Attributes
    ----------
    values
        `DAMAGE`, and `RESIDUAL` where there is one, (N,) each.
    pairs_e2
        (E, 2), rows of neighbours, each pair once.
    blocks_n
        (N,), block of each particle.
    """

    values: dict[str, FloatArray]
    pairs_e2: IntArray
    blocks_n: IntArray


@dataclass(frozen=True)
class _Estimate:
    """A value, its standard error, the degrees of freedom of that, and its p-value by chance."""

    value: float
    error: float
    freedom: float
    p_value: float


def measure_synchrony(
    rows: pd.DataFrame,
    contacts: Mapping[str, pd.DataFrame],
    residuals: FloatArray | None,
    params: AttributionParams,
    *,
    comparable: bool = True,
) -> pd.DataFrame:
    """Measure the spatial autocorrelation of damage, in each sample and between samples.

    Where in any sample fewer than half of the particles are in contact with another, the six
    nearest are the neighbours in all samples: a particle's six, and those whose six it is among.

    Parameters
    ----------
    rows
        ``sample, particle_id, block, damage, z_um, y_um, x_um``, samples in order of cycles.
    contacts
        By sample ``particle_id, neighbour_id``.
    residuals
        (N,), damage less out-of-sample predictions.
    params
        Level of the intervals and seed.
    comparable
        Whether samples may be compared; if not, there are no rows of differences.

    Returns
    -------
    DataFrame
        `SYNCHRONY_COLUMNS`. A row per sample (``sample_a``) and quantity (`QUANTITIES`): interval
        by the block jackknife, Student's t; ``expected`` and the two-sided ``p_value`` are those of
        values dealt out at random. Then a row per quantity and two samples that follow each other,
        ``value`` being that of ``sample_b`` less that of ``sample_a``: interval and p-value by
        Welch's t. Null where something is not defined, such as a logit's range where a quarter of
        the damages are 0.

    Raises
    ------
    TableError
        If residuals are not one finite number a row.
    """
    _check_residuals(rows, residuals)
    fields, graph = _gather_fields(rows, contacts, residuals)
    rng = np.random.default_rng(params.seed)
    found = {sample: _estimate(field, rng) for sample, field in fields.items()}
    records: list[dict[str, Any]] = [
        {
            "sample_a": sample, "sample_b": None, "quantity": name,
            **_tabulate(estimate, params.confidence),
            "expected": _expect(name, len(fields[sample].blocks_n)), **_count(fields[sample]),
        }
        for sample, estimates in found.items()
        for name, estimate in estimates.items()
    ]  # fmt: skip
    for first, second in pairwise(found) if comparable else ():
        records += [
            {
                "sample_a": first, "sample_b": second, "quantity": name,
                **_tabulate(_subtract(found[second][name], earlier), params.confidence),
                "expected": 0.0, **_count(fields[first], fields[second]),
            }
            for name, earlier in found[first].items()
        ]  # fmt: skip
    table = pd.DataFrame(records, columns=list(SYNCHRONY_COLUMNS)).assign(graph=graph)
    return table.astype({"sample_a": "str", "sample_b": "str"})


def evaluate_synchrony(table: pd.DataFrame) -> str:
    """State whether damage went from asynchronous to synchronous, a sentence per two samples.

    It is supported if the interval of the difference in Moran's I of damage lies above 0, and the
    opposite is if it lies below.

    Parameters
    ----------
    table
        What `measure_synchrony` returned.
    """
    found = table[table["quantity"] == "morans_i"]
    single = found["sample_b"].isna()
    moran = found[single].set_index("sample_a")["value"]
    sentences = [_evaluate_pair(row, moran) for row in found[~single].itertuples()]
    return "\n".join(sentences) or (
        "Whether damage became more synchronous cannot be told: there are no two samples to "
        "compare."
    )


def _gather_fields(
    rows: pd.DataFrame, contacts: Mapping[str, pd.DataFrame], residuals: FloatArray | None
) -> tuple[dict[str, _Field], str]:
    """Return the fields by sample and the name of their graph."""
    parts = {str(sample): part for sample, part in rows.groupby("sample", sort=False)}
    pairs = {
        sample: list_contacts(part["particle_id"].to_numpy(), contacts.get(sample))
        for sample, part in parts.items()
    }
    enough = all(2 * len(np.unique(pairs[sample])) >= len(part) for sample, part in parts.items())
    if not enough:
        pairs = {
            sample: list_nearest(part[["z_um", "y_um", "x_um"]].to_numpy(dtype=np.float64))
            for sample, part in parts.items()
        }
    fields = {}
    for sample, part in parts.items():
        values = {DAMAGE: part["damage"].to_numpy(dtype=np.float64)}
        if residuals is not None:
            values[RESIDUAL] = residuals[(rows["sample"] == sample).to_numpy()]
        fields[sample] = _Field(values, pairs[sample], part["block"].to_numpy(dtype=np.int64))
    return fields, CONTACT_GRAPH if enough else NEAREST_GRAPH


def _estimate(field: _Field, rng: np.random.Generator) -> dict[str, _Estimate]:
    """Estimate every quantity of a sample by the delete-one-block jackknife."""
    whole = describe_field(field.values, field.pairs_e2)
    chance = permute_field(field.values, field.pairs_e2, rng)
    blocks = np.unique(field.blocks_n)
    count = len(blocks)
    rests = [_describe_rest(field, field.blocks_n != block) for block in blocks if count > 1]
    found = {}
    for name, value in whole.items():
        left = np.array([rest[name] for rest in rests])
        error = np.sqrt((count - 1) * left.var()) if count > 1 else np.nan
        found[name] = _Estimate(value, float(error), count - 1, chance.get(name, np.nan))
    return found


def _describe_rest(field: _Field, kept_n: NDArray[np.bool_]) -> dict[str, float]:
    """Compute every quantity on the retained particles."""
    numbers_n = np.cumsum(kept_n) - 1
    pairs_e2 = numbers_n[field.pairs_e2[kept_n[field.pairs_e2].all(axis=1)]]
    return describe_field({name: v[kept_n] for name, v in field.values.items()}, pairs_e2)


def _subtract(later: _Estimate, earlier: _Estimate) -> _Estimate:
    """Subtract two estimates after Welch (1947, Biometrika 34, 28)."""
    variances = np.array([later.error, earlier.error]) ** 2
    shares = variances**2 / np.maximum([later.freedom, earlier.freedom], 1)
    error = float(np.sqrt(variances.sum()))
    freedom = error**4 / float(shares.sum()) if shares.sum() > 0 else np.nan
    value = later.value - earlier.value
    p_value = float(2 * stats.t.sf(abs(value) / error, freedom)) if error > 0 else np.nan
    return _Estimate(value, error, freedom, p_value)


def _tabulate(estimate: _Estimate, confidence: float) -> dict[str, float]:
    reach = float(stats.t.ppf(0.5 + confidence / 2, max(estimate.freedom, 1))) * estimate.error
    return {
        "value": estimate.value, "low": estimate.value - reach, "high": estimate.value + reach,
        "p_value": estimate.p_value,
    }  # fmt: skip


def _count(*fields: _Field) -> dict[str, int]:
    return {
        "n_particles": sum(len(field.blocks_n) for field in fields),
        "n_pairs": sum(len(field.pairs_e2) for field in fields),
    }


def _expect(name: str, count: int) -> float:
    """Return the expectation under permutation; NaN where it is not defined."""
    if name.startswith("morans_i"):
        return -1.0 / (count - 1)
    return 1.0 if name == "pair_difference" else np.nan


def _evaluate_pair(row: Any, moran: pd.Series) -> str:
    span = f"from {row.sample_a} to {row.sample_b}"
    if not np.isfinite([row.low, row.high]).all():
        return (
            f"Whether damage became more synchronous {span} cannot be told: Moran's I or its "
            "interval is not defined."
        )
    if row.low > 0:
        verdict = f"Damage became more synchronous {span}, which supports the paper's claim"
    elif row.high < 0:
        verdict = f"Damage became less synchronous {span}, the opposite of the paper's claim"
    else:
        verdict = f"Whether damage became more synchronous {span} cannot be told"
    return (
        f"{verdict}: Moran's I of damage is {moran[row.sample_a]:.2f} and then "
        f"{moran[row.sample_b]:.2f}, a difference of {row.value:+.2f} (interval {row.low:+.2f} to "
        f"{row.high:+.2f}; neighbours: {row.graph})."
    )


def _check_residuals(rows: pd.DataFrame, residuals: FloatArray | None) -> None:
    if residuals is None:
        return
    if residuals.shape != (len(rows),) or not np.isfinite(residuals).all():
        bad = int((~np.isfinite(residuals)).sum())
        raise TableError(
            "residuals of damage",
            found=f"an array of shape {residuals.shape} with {bad} values that are not finite",
            expected=f"a finite number for each of {len(rows)} particles",
            action="give predictions of particles that were held out, one for each row",
        )
