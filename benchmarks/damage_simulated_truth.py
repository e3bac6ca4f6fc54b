"""How often damage attribution finds the simulated drivers, and what the paper's way finds instead.

Every seed draws two samples whose damage follows depth, contact and size. The default method and
the paper's (``text`` and ``code``: SHAP of a forest on the particles that it was grown on, all 21
attributes, the paper's definitions of them) explain the same particles. A further sample has a
driver that acts as a step, another one (the null world) no driver at all.

The default method runs with its own settings but for fewer repeats, as ranks, findings and shapes
are evaluated here and not the width of intervals. A seed is a line of ``--out``; seeds that stand
there are not run again.

    python benchmarks/damage_simulated_truth.py [--seeds 100] [--particles 2000] [--workers 2]
        [--permutations 59] [--bootstraps 59] [--repeats 2] [--skip-paper] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ncm_kedro.damage.attribution import build_problem
from ncm_kedro.damage.explaining import make_rng
from ncm_kedro.damage.grouping import label_group
from ncm_kedro.damage.paper import repeat_paper_forest
from ncm_kedro.damage.preparation import DamageData, prepare_damage
from ncm_kedro.damage.resampling import (
    AttributionProblem,
    Repeated,
    repeat_cross_validation,
    repeat_explanations,
)
from ncm_kedro.damage.significance import (
    average_shap,
    tabulate_importance,
    tabulate_scores,
)
from ncm_kedro.params.damage_attribution import (
    AttributionParams,
    DamageForestParams,
    DamageTableParams,
    PaperForestParams,
)
from ncm_kedro.params.tomo_phantoms import DamageLawParams
from table_phantoms.params import ParticleTableParams
from table_phantoms.tables import draw_particle_tables

DRIVERS = {"z_um": -1, "contact": 1, "volume_um3": 1}
"""Planted drivers and their signs."""
GEOMETRY = ("packing_density", "distance_nearest_um")
"""What goes with contact because of how particles are packed: confounded, no noise."""
STATISTICS = ("sphericity_std", "elongation_std", "volume_std_um3", "orientation_isotropy")
"""Of the neighbours. The law knows nothing of them."""
PAPER_PRESETS = ("text", "code")
NULL_LAW = DamageLawParams(depth=0, contact=0, size=0)
FOREST = DamageForestParams()
BINS = 10
MONOTONE = 0.9


def run_seed(seed: int, settings: argparse.Namespace) -> dict[str, Any]:
    """Return all that is known of a seed."""
    mark = np.array([time.perf_counter(), time.process_time()])
    params = AttributionParams(
        repeats=settings.repeats, bootstraps=settings.bootstraps,
        permutations=settings.permutations, perturbations=0, workers=settings.workers, seed=seed,
    )  # fmt: skip
    world = ParticleTableParams(particles=settings.particles)
    samples = evaluate_default(prepare(world, seed), params)
    spent = np.array([time.perf_counter(), time.process_time()]) - mark
    one = {"cyc10": world.samples["cyc10"]}
    null = world.model_copy(update={"samples": one, "law": NULL_LAW})
    step = world.model_copy(update={"samples": one, "threshold_driver": "depth"})
    return {
        "seed": seed,
        "settings": describe(settings),
        "wall_s": spent[0],
        "cpu_s": spent[1],
        "samples": samples,
        "null": evaluate_default(prepare(null, seed), params)["cyc10"],
        "step": evaluate_step(prepare(step, seed), params),
        "paper": {} if settings.skip_paper else evaluate_paper(world, seed, settings.workers),
    }


def describe(settings: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that seeds of one file have in common."""
    names = ("particles", "permutations", "bootstraps", "repeats", "skip_paper")
    return {name: getattr(settings, name) for name in names}


def prepare(world: ParticleTableParams, seed: int, attributes: str = "leakage_free") -> DamageData:
    """Draw the tables of a seed and prepare them."""
    phantom = draw_particle_tables(world, seed)
    chosen = DamageTableParams.model_validate({"attributes": attributes})
    return prepare_damage(phantom.attributes, phantom.details, phantom.table, chosen)


def evaluate_default(data: DamageData, params: AttributionParams) -> dict[str, dict[str, Any]]:
    """Return by sample what the default method says."""
    problems = [build_problem(data, sample) for sample in data.samples]
    found = repeat_explanations(problems, FOREST, params)
    return {
        problem.sample: evaluate_sample(data, problem, each, params)
        for problem, each in zip(problems, found, strict=True)
    }


def evaluate_sample(
    data: DamageData, problem: AttributionProblem, found: Repeated, params: AttributionParams
) -> dict[str, Any]:
    """Return ranks, findings, signs and shapes of a sample."""
    labels = [label_group(group) for group in data.groups]
    members = [",".join(group) for group in data.groups]
    table = tabulate_importance(problem, found, labels, members, params)
    rng = make_rng(params.seed, problem.sample, "scores")
    score = tabulate_scores(problem, found, params, rng).iloc[0]
    noise, groups = table[table["kind"] == "noise"].iloc[0], table[table["kind"] == "group"]
    columns = ["members", "explained", "p_value", "q_value", "significant"]
    shapes = {name: follow_shape(data, problem, found, name) for name in DRIVERS}
    return {
        "groups": groups[columns].to_dict("records"),
        "noise": [float(noise["explained"]), float(noise["p_value"])],
        "explains": bool(score["explains"]),
        "r2": float(score["r2"]),
        "shapes": shapes,
    }


def follow_shape(
    data: DamageData, problem: AttributionProblem, found: Repeated, driver: str
) -> float:
    """Rank correlation of a driver with the mean SHAP value of its group over `BINS` bins."""
    group = next(number for number, names in enumerate(data.groups) if driver in names)
    shap = average_shap(found.repeats, 0)[:, group]
    values = problem.values_np[:, data.inputs.index(driver)]
    return float(stats.spearmanr(np.arange(BINS), average_bins(values, shap)).statistic)


def average_bins(
    values: NDArray[np.float64], shap: NDArray[np.float64], bins: int = BINS
) -> NDArray[np.float64]:
    """Mean SHAP value in bins of equal count along the values."""
    parts = np.array_split(shap[np.argsort(values)], bins)
    return np.array([part.mean() for part in parts])


def evaluate_step(data: DamageData, params: AttributionParams) -> dict[str, float]:
    """Return where the SHAP values of depth jump, and the jump's share of their range.

    The step is simulated at the median of all particles.
    """
    problem = build_problem(data, data.samples[0])
    repeats = [explained for explained, _ in repeat_cross_validation([problem], FOREST, params)[0]]
    column = data.inputs.index("z_um")
    means = average_bins(problem.values_np[:, column], average_shap(repeats, 1)[:, column], 20)
    jumps = means[2:] - means[:-2]  # the bin that holds the step is mixed
    largest = int(np.argmax(np.abs(jumps)))
    return {
        "place": (largest + 1.5) / 20,
        "share": float(np.abs(jumps[largest]) / np.ptp(means)),
        "sign": float(np.sign(jumps[largest])),
    }


def evaluate_paper(
    world: ParticleTableParams, seed: int, workers: int
) -> dict[str, dict[str, list[str]]]:
    """Return by preset and sample the attributes in the paper's order, the first six."""
    data = prepare(world.model_copy(update={"preset": "paper"}), seed, "all")
    found: dict[str, dict[str, list[str]]] = {}
    for preset in PAPER_PRESETS:
        params = PaperForestParams.model_validate(
            {"preset": preset, "draws": 2, "draw_size": 20, "seeds": 2, "max_explained": 50,
             "workers": workers, "seed": seed}
        )  # fmt: skip
        table = repeat_paper_forest(data.rows, data.inputs, params)
        seeds = table[table["strategy"] == "seeds"]
        found[preset] = {
            str(sample): part.groupby("attribute")["share"].mean().nlargest(6).index.tolist()
            for sample, part in seeds.groupby("sample")
        }
    return found


def read_done(path: Path, settings: argparse.Namespace) -> dict[int, dict[str, Any]]:
    """Return the seeds that stand in the file."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if any(line["settings"] != describe(settings) for line in lines):
        raise SystemExit(f"{path} holds seeds of other settings: name another file by --out")
    return {line["seed"]: line for line in lines}


def classify(members: str) -> str:
    """Say what a group of attributes is: driver, geometry, statistics or nothing."""
    names = set(members.split(","))
    if names & set(DRIVERS):
        return "driver"
    if names & set(GEOMETRY):
        return "goes with contact"
    return "neighbours' statistic" if names & set(STATISTICS) else "noise"


def find_drivers_first(sample: dict[str, Any]) -> bool:
    """Whether the first three groups hold one driver each."""
    first = [set(group["members"].split(",")) & set(DRIVERS) for group in sample["groups"][:3]]
    return all(len(names) == 1 for names in first) and set().union(*first) == set(DRIVERS)


def print_default(seeds: Sequence[dict[str, Any]]) -> None:
    """Print how often the default method is right."""
    rows = []
    names = list(seeds[0]["samples"])
    for name in names:
        samples = [seed["samples"][name] for seed in seeds]
        rows.append([name, *(share(part) for part in zip(*map(evaluate, samples), strict=True))])
    both = [np.all([evaluate(seed["samples"][n]) for n in names], axis=0) for seed in seeds]
    rows.append(["both", *(share(part) for part in zip(*both, strict=True))])
    print_markdown(
        f"Default method, {len(seeds)} seeds: share of seeds (%)",
        ["sample", "drivers rank first", "drivers significant", "signs and shapes right",
         "model explains", "no noise significant"],
        rows,
    )  # fmt: skip


def evaluate(sample: dict[str, Any]) -> tuple[bool, ...]:
    """Judge a sample: ranks, findings, shapes, model, noise."""
    kinds = [(classify(group["members"]), group["significant"]) for group in sample["groups"]]
    return (
        find_drivers_first(sample),
        all(found for kind, found in kinds if kind == "driver"),
        all(sample["shapes"][name] * sign >= MONOTONE for name, sign in DRIVERS.items()),
        sample["explains"],
        not any(found for kind, found in kinds if kind in {"noise", "neighbours' statistic"}),
    )


def print_groups(seeds: Sequence[dict[str, Any]]) -> None:
    """Print every group's findings."""
    groups = pd.DataFrame(
        [
            group
            for seed in seeds
            for sample in seed["samples"].values()
            for group in sample["groups"]
        ]
    )
    groups["kind"] = groups["members"].map(classify)
    rows = [
        [members, part["kind"].iloc[0], float(part["explained"].mean()),
         float(part["p_value"].median()), share(part["p_value"] <= 0.05),
         share(part["significant"])]
        for members, part in groups.groupby("members", sort=False)
    ]  # fmt: skip
    pure = np.array([s["noise"] for seed in seeds for s in seed["samples"].values()])
    rows.append(["pure noise", "noise", float(pure[:, 0].mean()), float(np.median(pure[:, 1])),
                 share(pure[:, 1] <= 0.05), ""])  # fmt: skip
    rows.sort(key=lambda row: -row[2])
    print_markdown(
        "Groups of attributes, both samples",
        ["group", "is", "part of R2", "median p", "p <= 0.05 (%)", "significant (%)"],
        rows,
    )  # fmt: skip
    noise = groups[groups["kind"].isin(["noise", "neighbours' statistic"])]
    print(f"\nnoise and neighbours' statistics found significant: {share(noise['significant'])} % "
          f"of {len(noise)}; p <= 0.05: {share(noise['p_value'] <= 0.05)} %")  # fmt: skip


def print_worlds(seeds: Sequence[dict[str, Any]]) -> None:
    """Print the null world and the step."""
    null, step = [seed["null"] for seed in seeds], [seed["step"] for seed in seeds]
    found = [any(group["significant"] for group in each["groups"]) for each in null]
    tests = [group["p_value"] <= 0.05 for each in null for group in each["groups"]]
    right = [abs(each["place"] - 0.5) <= 0.05 and each["sign"] < 0 for each in step]
    rows = [
        ["null: the model is said to explain (%)", share(each["explains"] for each in null)],
        ["null: some group is said to be significant (%)", share(found)],
        ["null: groups with p <= 0.05 (%)", share(tests)],
        ["step in depth: the jump lies within 5 % of particles of it (%)", share(right)],
        ["step in depth: share of the jump in the range of SHAP values, median",
         float(np.median([each["share"] for each in step]))],
    ]  # fmt: skip
    print_markdown("Other worlds", ["what", "found"], rows)


def print_paper(seeds: Sequence[dict[str, Any]]) -> None:
    """Print what the paper's way puts first."""
    rows = []
    for preset in seeds[0]["paper"]:
        for name in seeds[0]["samples"]:
            order = [seed["paper"][preset][name][:3] for seed in seeds]
            firsts = pd.Series([each for top in order for each in top]).value_counts()
            told = ", ".join(f"{each} {share_of(n, len(seeds))}" for each, n in firsts.items())
            right = share(set(top) == set(DRIVERS) for top in order)
            rows.append([preset, name, right, told])
    if rows:
        print_markdown(
            "The paper's way on the same particles: share of seeds (%)",
            ["preset", "sample", "drivers rank first", "among its first three (%)"],
            rows,
        )


def share(marks: Iterable[Any]) -> str:
    """Percentage of true marks."""
    counted = np.fromiter((bool(mark) for mark in marks), dtype=bool)
    return share_of(int(counted.sum()), len(counted))


def share_of(part: int, whole: int) -> str:
    """Percentage without decimals where it is whole."""
    return f"{100 * part / whole:.3g}" if whole else "-"


def print_markdown(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with a heading."""
    print(f"\n### {title}\n")
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        cells = [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Run the seeds that are missing and print all tables."""
    logging.disable(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--particles", type=int, default=2000, help="of each sample")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--permutations", type=int, default=59)
    parser.add_argument("--bootstraps", type=int, default=59)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--skip-paper", action="store_true", help="the default method alone")
    parser.add_argument("--out", type=Path, default=Path("damage_simulated_truth.jsonl"))
    settings = parser.parse_args()
    done = read_done(settings.out, settings)
    for seed in range(1, settings.seeds + 1):
        if seed in done:
            continue
        done[seed] = run_seed(seed, settings)
        with settings.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[seed], default=float) + "\n")
        samples = done[seed]["samples"]
        right = all(find_drivers_first(sample) for sample in samples.values())
        wall_s, cpu_s = done[seed]["wall_s"], done[seed]["cpu_s"]
        print(
            f"seed {seed}: drivers {'first' if right else 'not first'}, default method "
            f"{wall_s:.0f} s ({cpu_s:.0f} s CPU)",
            flush=True,
        )
    seeds = [done[seed] for seed in range(1, settings.seeds + 1)]
    print_default(seeds)
    print_groups(seeds)
    print_worlds(seeds)
    print_paper(seeds)


if __name__ == "__main__":
    main()
