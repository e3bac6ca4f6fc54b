"""The paper's own attribution: SHAP of a random forest on the particles that it was grown on.

Supplement of Li et al. (2022), "Random forest regression and identification of contribution
scores", with scikit-learn's forest and ``shap.TreeExplainer`` as they are. Limitations:

- SHAP values are those of training rows. A deep forest overfits these, so uninformative attributes
  get a fraction of what was memorised; no fraction is ever 0.
- Test particles are drawn at random, next to training particles. Whatever neighbours have in
  common (place, contrast, a bad slice) counts as predicted.
- Attributes that contain the damage by their definition are among the inputs (target leakage).
  They rank first whatever broke the particles.
- The repeats share particles: their spread is the variance of the forest, not how much another
  piece of the electrode would differ.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from ncm_kedro.damage.explaining import run_tasks
from ncm_kedro.errors import TableError
from ncm_kedro.params.damage_attribution import PaperForestParams

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Strategy = Literal["draws", "seeds"]

MIN_PARTICLES = 20
"""Particles of a sample at least, so that one or more are left to test on."""

_TEST_SHARE = 0.05
_DRAWN_SHARE = 0.8
_PRESETS: dict[str, dict[str, Any]] = {
    "text": {"n_estimators": 100, "max_depth": 30},
    "code": {
        "n_estimators": 40, "max_leaf_nodes": 30, "max_features": "sqrt",
        "criterion": "absolute_error",
    },
}  # fmt: skip
_REPEAT = ["strategy", "number", "attribute"]


@dataclass(frozen=True)
class _Repeat:
    """One forest: what it is grown, tested and explained on (row numbers), and its seed."""

    sample: str
    strategy: Strategy
    number: int
    train: IntArray
    test: IntArray
    explained: IntArray
    seed: int


def repeat_paper_forest(
    rows: pd.DataFrame, names: Sequence[str], params: PaperForestParams
) -> pd.DataFrame:
    """Grow and explain the paper's forest by both of its robustness strategies.

    5 % of a sample's particles, drawn once, are held out for testing. ``draws`` are forests on a
    part of the other particles, ``seeds`` forests on all of them that differ in their random
    numbers alone. Both presets are explained by path-dependent TreeSHAP (Lundberg et al. 2020).

    Parameters
    ----------
    rows
        A row per particle: ``sample``, ``damage`` and the attributes, without nulls.
    names
        Attributes that damage is predicted from.
    params
        Preset, numbers of forests, threads, seed.

    Returns
    -------
    DataFrame
        A row per forest and attribute: ``sample, strategy, number, attribute, mean_abs_shap``
        (unit of damage), ``share`` (of the forest's sum), ``mae_train, mae_test, mae_mean``
        (of predicting the training mean on the test rows), ``r2_test`` (NaN where damage does not
        vary in them), ``n_train, n_test``. ``attrs``: preset, SHAP, and on how many training rows
        at most it was taken.

    Raises
    ------
    TableError
        Columns are missing, values are undefined, or a sample has too few particles.
    """
    _check_rows(rows, names)
    columns = list(names)
    tasks = []
    for sample, part in rows.groupby("sample", sort=False, observed=True):
        values_np = part[columns].to_numpy(dtype=np.float64)
        damage_n = part["damage"].to_numpy(dtype=np.float64)
        for repeat in _plan_repeats(str(sample), len(part), params):
            tasks.append(partial(_run_repeat, values_np, damage_n, columns, repeat, params.preset))
    found = run_tasks(tasks, params.workers, f"damage: the paper's forests ({params.preset})")
    result = pd.concat(found, ignore_index=True)
    result.attrs = {
        "preset": params.preset,
        "shap": "path-dependent, of training rows",
        "max_explained": params.max_explained,
    }
    return result


def take_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Subtract the shares of consecutive samples, forest by forest.

    Parameters
    ----------
    table
        What `repeat_paper_forest` returned.

    Returns
    -------
    DataFrame
        ``sample_a, sample_b, strategy, number, attribute, difference``: share in ``sample_b``
        minus share in ``sample_a``, of the forests of the same strategy and number. Samples
        follow each other as they do in ``table``.
    """
    columns = ["sample_a", "sample_b", *_REPEAT, "difference"]
    parts = []
    for first, second in pairwise(table["sample"].unique()):
        both = (
            table.loc[table["sample"] == first, [*_REPEAT, "share"]]
            .merge(
                table.loc[table["sample"] == second, [*_REPEAT, "share"]],
                on=_REPEAT, suffixes=("_a", "_b"), validate="one_to_one",
            )
            .assign(sample_a=first, sample_b=second)
        )  # fmt: skip
        parts.append(both.assign(difference=both["share_b"] - both["share_a"])[columns])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _check_rows(rows: pd.DataFrame, names: Sequence[str]) -> None:
    needed = ["sample", "damage", *names]
    missing = [name for name in needed if name not in rows]
    if missing or not names or "damage" in names:
        raise TableError(
            "rows of the paper's forest",
            found=f"columns {list(rows.columns)}, predicting from {list(names)}",
            expected="sample, damage, and one or more other attributes to predict damage from",
            action="name attributes of the table, damage not among them",
        )
    numbers = rows[needed[1:]].to_numpy(dtype=np.float64, na_value=np.nan)
    bad = [
        name for name, ok in zip(needed[1:], np.isfinite(numbers).all(axis=0), strict=True)
        if not ok
    ]  # fmt: skip
    if bad:
        raise TableError(
            "rows of the paper's forest", found=f"undefined values in {bad}",
            expected="a finite number in every row", action="leave these particles out first",
        )  # fmt: skip
    counts = rows["sample"].value_counts()
    if counts.empty or counts.min() < MIN_PARTICLES:
        raise TableError(
            "rows of the paper's forest",
            found=f"particles by sample: {counts.to_dict()}",
            expected=f"at least {MIN_PARTICLES} of each", action="leave small samples out",
        )  # fmt: skip


def _plan_repeats(sample: str, count: int, params: PaperForestParams) -> list[_Repeat]:
    """Draw all repeats of a sample; other samples beside it change nothing."""
    sample_seed = [params.seed, zlib.crc32(sample.encode())]
    rng = np.random.default_rng(sample_seed)
    order = rng.permutation(count)
    held_out = math.ceil(_TEST_SHARE * count)
    test, rest = order[:held_out], order[held_out:]
    drawn = params.draw_size
    if drawn >= len(rest):
        drawn = round(_DRAWN_SHARE * len(rest))
    forest_seed = int(rng.integers(2**31))
    planned = []
    for number in range(params.draws):
        own = np.random.default_rng([*sample_seed, number])
        train = own.permutation(rest)[:drawn]
        planned.append(
            _Repeat(sample, "draws", number, train, test, train[: params.max_explained],
                    forest_seed)
        )  # fmt: skip
    seeds = rng.choice(2**31, size=params.seeds, replace=False)
    planned += [
        _Repeat(sample, "seeds", number, rest, test, rest[: params.max_explained], int(seed))
        for number, seed in enumerate(seeds)
    ]
    return planned


def _run_repeat(
    values_np: FloatArray, damage_n: FloatArray, names: list[str], repeat: _Repeat, preset: str
) -> pd.DataFrame:
    forest = RandomForestRegressor(**_PRESETS[preset], random_state=repeat.seed, n_jobs=1)
    known = damage_n[repeat.train]
    forest.fit(values_np[repeat.train], known)
    tested = damage_n[repeat.test]
    error = tested - forest.predict(values_np[repeat.test])
    spread = float(((tested - tested.mean()) ** 2).sum())
    worth = np.abs(_explain_rows(forest, values_np[repeat.explained])).mean(axis=0)
    return pd.DataFrame(
        {
            "sample": repeat.sample, "strategy": repeat.strategy, "number": repeat.number,
            "attribute": names, "mean_abs_shap": worth,
            "share": worth / worth.sum() if worth.sum() > 0 else np.nan,
            "mae_train": np.abs(known - forest.predict(values_np[repeat.train])).mean(),
            "mae_test": np.abs(error).mean(),
            "mae_mean": np.abs(tested - known.mean()).mean(),
            "r2_test": 1.0 - float((error**2).sum()) / spread if spread > 0 else np.nan,
            "n_train": len(known), "n_test": len(tested),
        }
    )  # fmt: skip


def _explain_rows(forest: RandomForestRegressor, values_np: FloatArray) -> FloatArray:
    """SHAP values, path-dependent, (N, P); shap is imported here, as importing it takes seconds."""
    import shap

    return np.asarray(shap.TreeExplainer(forest).shap_values(values_np), dtype=np.float64)
