"""What damage attribution costs, beside the published notebook's way of doing it, and its growth.

``job``: two samples, all repeats of the default method, against the notebook's way in the same
process: scikit-learn's forest of depth 30 and ``shap.TreeExplainer`` on all of its training rows,
10 draws of 500 particles and 10 seeds a sample, one after the other. One forest of each kind is
fitted, before and after ours, and some of its rows are explained; SHAP costs the same for every
row, so that the rest is counted up.

``parts``: one forest and its SHAP values beside those of scikit-learn and of the shap library. SHAP
is path-dependent everywhere.

``growth``: one sample of growing size with the same settings, fewest repeats. By default trees are
grown on, and resampled forests explain, a limited number of particles; ``--without-limits`` lets
them have all.

    python benchmarks/damage_speed.py [--parts job parts growth] [--particles 2000] [--workers 2]
        [--rows 40] [--sizes 2000 20000 200000] [--without-limits]
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import shap
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from ncm_kedro.damage.attribution import attribute_damage
from ncm_kedro.damage.explaining import score_r2
from ncm_kedro.damage.forest import Forest, bin_values, grow_forest
from ncm_kedro.damage.preparation import DamageData, prepare_damage
from ncm_kedro.damage.tree_shap import explain_forest
from ncm_kedro.params.damage_attribution import (
    AttributionParams,
    DamageForestParams,
    DamageTableParams,
)
from table_phantoms.oracle import make_explainer
from table_phantoms.params import ParticleTableParams
from table_phantoms.tables import draw_particle_tables

FloatArray = NDArray[np.float64]
Answer = TypeVar("Answer")

DRAWS, DRAW_SIZE, SEEDS = 10, 500, 10
"""The notebook's repeats of a sample."""
TRAINING_SHARE = 0.95
NOTEBOOK_FOREST = {"n_estimators": 100, "max_depth": 30}
FEWEST = AttributionParams(repeats=1, bootstraps=20, permutations=19, perturbations=0)
NO_LIMIT = 10**9


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds."""

    wall_s: float
    cpu_s: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def scale(self, factor: float) -> Cost:
        """Return the cost of as many."""
        return Cost(self.wall_s * factor, self.cpu_s * factor)


def measure(task: Callable[[], Answer]) -> tuple[Answer, Cost]:
    """Run a task; return its answer and its cost."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    answer = task()
    return answer, Cost(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def prepare(particles: int, *, paper: bool = False, samples: int = 2) -> DamageData:
    """Draw and prepare samples; the paper's definitions and all attributes, or ours."""
    world = ParticleTableParams(particles=particles, measurement_noise=0.0 if paper else 0.02)
    named = dict(list(world.samples.items())[:samples])
    preset = "paper" if paper else "corrected"
    phantom = draw_particle_tables(world.model_copy(update={"samples": named, "preset": preset}), 1)
    chosen = DamageTableParams(attributes="all" if paper else "leakage_free")
    return prepare_damage(phantom.attributes, phantom.details, phantom.table, chosen)


def warm_up(workers: int) -> None:
    """Have everything compiled."""
    params = FEWEST.model_copy(update={"workers": workers})
    data = prepare(150)
    attribute_damage(data, DamageForestParams(trees=5), params)
    measure_notebook(*take_arrays(data, data.samples[0]), 2)


def take_arrays(data: DamageData, sample: str) -> tuple[FloatArray, FloatArray]:
    """Return attributes, as float32 can hold them, and damage of a sample."""
    rows = data.rows[data.rows["sample"] == sample]
    values = rows[list(data.inputs)].to_numpy(dtype=np.float32).astype(np.float64)
    return values, rows["damage"].to_numpy(dtype=np.float64)


def measure_notebook(values_np: FloatArray, damage: FloatArray, rows: int) -> tuple[Cost, Cost]:
    """Return what one forest costs with the SHAP values of its rows: of a draw, and of a seed."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(damage))[: round(TRAINING_SHARE * len(damage))]
    costs = []
    for train in (order[:DRAW_SIZE], order):
        forest = RandomForestRegressor(**NOTEBOOK_FOREST, random_state=0)
        _, fit = measure(lambda f=forest, t=train: f.fit(values_np[t], damage[t]))
        explainer, begin = measure(lambda f=forest: shap.TreeExplainer(f))
        seen = train[:rows]
        _, told = measure(lambda e=explainer, s=seen: e.shap_values(values_np[s]))
        costs.append(fit + begin + told.scale(len(train) / len(seen)))
    return costs[0], costs[1]


def measure_notebook_job(data: DamageData, rows: int) -> Cost:
    """Return what all forests of the notebook's way cost, samples and repeats one by one."""
    whole = Cost(0, 0)
    for sample in data.samples:
        draw, seed = measure_notebook(*take_arrays(data, sample), rows)
        whole += draw.scale(DRAWS) + seed.scale(SEEDS)
    return whole


def count_forests(params: AttributionParams) -> int:
    """Count the forests that are grown and explained for a sample, those with leaks included."""
    again = params.bootstraps + params.permutations + params.perturbations
    return 2 * params.repeats * params.folds + again * params.resampled_folds


def run_job(settings: argparse.Namespace) -> None:
    """All repeats of two samples, and the notebook's."""
    params = AttributionParams(workers=settings.workers)
    ours_data, paper_data = prepare(settings.particles), prepare(settings.particles, paper=True)
    before = measure_notebook_job(paper_data, settings.rows)
    _, ours = measure(lambda: attribute_damage(ours_data, DamageForestParams(), params))
    after = measure_notebook_job(paper_data, settings.rows)
    theirs = (before + after).scale(0.5)
    samples = len(ours_data.samples)
    forests = samples * count_forests(params), samples * (DRAWS + SEEDS)
    print_markdown(
        f"{samples} samples of {settings.particles} particles, all repeats",
        ["what", "explained forests", "wall s", "CPU s", "CPU s per explained forest"],
        [[f"ours, default, {params.workers} workers", forests[0], ours.wall_s, ours.cpu_s,
          ours.cpu_s / forests[0]],
         ["the notebook's way, serial", forests[1], theirs.wall_s, theirs.cpu_s,
          theirs.cpu_s / forests[1]],
         ["the notebook's / ours", "", theirs.wall_s / ours.wall_s, theirs.cpu_s / ours.cpu_s,
          theirs.cpu_s / forests[1] / (ours.cpu_s / forests[0])]],
    )  # fmt: skip
    explained = min(settings.rows, round(TRAINING_SHARE * settings.particles))
    print(f"\nThe notebook's way: one forest of each kind and sample was fitted and {explained} of "
          f"its rows were explained, the rest is counted up; before ours {before.wall_s:.0f} s, "
          f"after {after.wall_s:.0f} s.")  # fmt: skip


def run_parts(settings: argparse.Namespace) -> None:
    """One forest and its SHAP values beside those of the libraries."""
    data = prepare(settings.particles)
    values, damage = take_arrays(data, data.samples[0])
    train, test = np.split(
        np.random.default_rng(1).permutation(len(damage)), [len(damage) * 4 // 5]
    )
    params = DamageForestParams()
    rng = np.random.default_rng(0)
    mine, my_fit = measure(lambda: grow_forest(bin_values(values), damage, train, params, rng))
    like = {"n_estimators": params.trees, "max_leaf_nodes": params.max_leaves,
            "min_samples_leaf": params.min_leaf,
            "max_features": params.feature_fraction}  # fmt: skip
    theirs = RandomForestRegressor(**like, random_state=0)
    _, their_fit = measure(lambda: theirs.fit(values[train], damage[train]))
    base = np.full(len(test), damage[train].mean())
    mine_r2, their_r2 = (score_r2(damage[test], f.predict(values[test]), base)
                         for f in (mine, theirs))  # fmt: skip
    large = params.model_copy(update={"max_leaves": 512, "min_leaf": 1})
    deep = grow_forest(bin_values(values), damage, train, large, rng)
    print_markdown(
        f"One forest of {len(train)} particles and {values.shape[1]} attributes, one thread",
        ["what", "rows", "ours s", "library s", "library / ours", "difference at most"],
        [["growing, against scikit-learn", len(train), my_fit.cpu_s, their_fit.cpu_s,
          their_fit.cpu_s / my_fit.cpu_s,
          f"R2 of unseen particles {mine_r2:.3f} and {their_r2:.3f}"],
         compare_shap("SHAP of that forest", mine, values[train]),
         compare_shap("SHAP of a forest of 512 leaves", deep, values[train][: settings.rows])],
    )  # fmt: skip


def compare_shap(name: str, forest: Forest, values_np: FloatArray) -> list[Any]:
    """Return a row on the SHAP values of one forest by us and by the shap library."""
    alone = [[column] for column in range(values_np.shape[1])]
    (mine, _), my_cost = measure(lambda: explain_forest(forest, values_np, alone))
    theirs, their_cost = measure(lambda: make_explainer(forest).shap_values(values_np))
    apart = float(np.abs(mine - theirs).max())
    if apart > 1e-9:
        raise SystemExit(f"{name}: values differ by {apart}")
    ratio = their_cost.cpu_s / my_cost.cpu_s
    return [name, len(values_np), my_cost.cpu_s, their_cost.cpu_s, ratio, f"{apart:.1e}"]


def run_growth(settings: argparse.Namespace) -> None:
    """One sample of growing size, the same settings."""
    limit = {"max_explained": NO_LIMIT} if settings.without_limits else {}
    params = FEWEST.model_copy(update={"workers": settings.workers, **limit})
    forest = DamageForestParams(max_draws=NO_LIMIT) if settings.without_limits else (
        DamageForestParams())  # fmt: skip
    rows: list[list[Any]] = []
    for size in settings.sizes:
        data = prepare(size, samples=1)
        _, cost = measure(lambda d=data: attribute_damage(d, forest, params))
        each_ms = 1000 * cost.cpu_s / len(data.rows)
        rows.append([size, len(data.rows), cost.wall_s, cost.cpu_s, each_ms])
        print(f"{size} particles: {cost.wall_s:.1f} s", flush=True)
    limits = "no limits" if settings.without_limits else (
        f"at most {forest.max_draws} particles a tree, {params.max_explained} explained by a "
        "resampled forest")  # fmt: skip
    print_markdown(
        f"Growth: {params.repeats} repeat, {params.bootstraps} bootstraps, {params.permutations} "
        f"permutations, {limits}",
        ["particles", "used", "wall s", "CPU s", "CPU ms per used particle", "to the first"],
        [[*row, row[-1] / rows[0][-1]] for row in rows],
    )


def print_markdown(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with a heading."""
    print(f"\n### {title}\n")
    print("| " + " | ".join(columns) + " |\n|---" + "|---:" * (len(columns) - 1) + "|")
    for row in rows:
        cells = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row]
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print tables in Markdown."""
    logging.disable(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parts = {"job": run_job, "parts": run_parts, "growth": run_growth}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--particles", type=int, default=2000, help="of each sample")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, default=40, help="explained by the notebook's way")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    parser.add_argument("--without-limits", action="store_true")
    settings = parser.parse_args()
    warm_up(settings.workers)
    for part in settings.parts:
        parts[part](settings)


if __name__ == "__main__":
    main()
