"""Particle attributes against solids of known measures, and against three other libraries.

Prints tables in markdown: the errors on digitised solids in random poses, at several sizes and for
both presets, and the worst of them side by side; the damage that either preset sees in intact
balls; and, given a map of phases, the differences to SimpleITK, DIPlib and scikit-image on the
particles that a watershed cuts it into.

    python benchmarks/particle_proof.py [--poses 12] [--ct PATH]
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "particles"))

import oracles
import solids
from measured import angle_between, measure_arrays, measure_solids, take_axes

UNEQUAL = (0.1, 0.07, 0.07)
LEAST_VX = 1000
LIMITS = {
    "volume, digitised": 0.01, "surface_outer_um2": 0.01, "sphericity": 0.01, "vs_ratio": 0.01,
    "elongation": 0.01, "long axis, degrees": 1.0, "damage, intact": 0.002,
    "crack volume, marked": 0.02, "crack volume, open and unmarked": 0.02,
    "surface_inner_um2": 0.05,
}  # fmt: skip


def list_solids(radius_um: float) -> dict[str, solids.Shape]:
    """Solids whose smallest half axis is this radius."""
    r = radius_um
    return {
        "ball": solids.ball(r),
        "ellipsoid": solids.ellipsoid(2 * r, 1.4 * r, r),
        "capsule": solids.capsule(2 * r, r),
        "box": solids.box(4 * r, 3 * r, 2 * r),
        "hollow ball": solids.hollow_ball(r, r / 2, r / 5),
        "ball with slot": solids.ball_with_slot(r, 0.2 * r + 0.1, -0.2 * r),
        "ball with disc": solids.ball_with_disc(r, 0.2 * r + 0.1, 0.6 * r),
    }


def measure_errors(
    name: str, radius_vx: float, voxel_um: tuple[float, float, float], poses: int, preset: str
) -> pd.DataFrame:
    """Measure a solid in random poses; return rows of quantity and error."""
    shape = list_solids(radius_vx * max(voxel_um))[name]
    rng = np.random.default_rng(int(radius_vx * 10))
    turns = solids.random_rotations(poses + 2, seed=1)[2:]
    places = [solids.random_offset(rng) for _ in turns]
    turned, bare = (
        [
            solids.digitise(
                shape, turn=turn, offset_vx=at, voxel_um=voxel_um, marked=marked
            )
            for turn, at in zip(turns, places, strict=True)
        ]
        for marked in (True, False)
    )  # fmt: skip
    table = measure_solids(turned, preset=preset)
    exact, volume = shape.exact, table["volume_um3"]
    errors = {
        "volume, digitised": volume / exact.volume - 1,
        "surface_outer_um2": table["surface_outer_um2"] / exact.outer - 1,
        "sphericity": table["sphericity"] - exact.sphericity,
        "vs_ratio": table["vs_ratio"] / exact.vs_ratio - 1,
    }
    if exact.elongation > 1:
        errors["elongation"] = table["elongation"] / exact.elongation - 1
        errors["long axis, degrees"] = [
            angle_between(take_axes(row.fillna({"roll_deg": 0.0}))[0], solid.exact.axes[0])
            for (_, row), solid in zip(table.iterrows(), turned, strict=True)
        ]
    if shape.crack is None:
        errors["damage, intact"] = table["damage"]
    else:
        simulated = np.array([solid.cracks.sum() for solid in turned]) * np.prod(voxel_um)
        errors["crack volume, marked"] = table["damage"] * volume / simulated - 1
        errors["surface_inner_um2"] = table["surface_inner_um2"] / exact.inner - 1
        if exact.opening > 0:
            closed = measure_solids(bare, preset=preset)
            lost = closed["damage"] * closed["volume_um3"] / simulated - 1
            errors["crack volume, open and unmarked"] = lost
    rows = [
        {"quantity": quantity, "solid": name, "error": float(error)}
        for quantity, values in errors.items()
        for error in values
    ]
    return pd.DataFrame(rows)


def summarise(errors: pd.DataFrame) -> pd.DataFrame:
    """Return a row per quantity and solid: number, mean and worst error, limit."""
    groups = errors.groupby(["quantity", "solid"], sort=False)["error"]
    table = groups.agg(
        n="size", mean="mean", worst=lambda values: values.iloc[values.abs().argmax()]
    ).reset_index()
    table["limit"] = table["quantity"].map(LIMITS)
    table["met"] = np.where(table["worst"].abs() <= table["limit"], "yes", "no")
    return table


def print_markdown(title: str, table: pd.DataFrame) -> None:
    """Print a table with a heading."""
    print(f"\n### {title}\n")
    print("| " + " | ".join(table.columns) + " |")
    print("|" + "---|" * len(table.columns))
    for row in table.itertuples(index=False):
        print("| " + " | ".join(write_cells(row)) + " |")


def write_cells(row: Iterable[object]) -> list[str]:
    """Write numbers with four decimals."""
    return [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row]


def prove_solids(poses: int) -> None:
    """Print the errors by size, voxel and preset."""
    cases = [(5, solids.CUBE), (10, solids.CUBE), (20, solids.CUBE), (10, UNEQUAL)]
    for preset in ("corrected", "paper"):
        found = {}
        for radius_vx, voxel_um in cases:
            names = list_solids(1.0)
            errors = pd.concat(
                measure_errors(name, radius_vx, voxel_um, poses, preset) for name in names
            )
            edges = " x ".join(f"{edge * 1000:.0f}" for edge in voxel_um)
            title = f"{preset}: smallest half axis {radius_vx} voxels, voxels of {edges} nm"
            found[f"{radius_vx} voxels of {edges} nm"] = summarise(errors)
            print_markdown(title, found[f"{radius_vx} voxels of {edges} nm"])
        print_markdown(f"{preset}: worst errors", list_worst(found))


def list_worst(summaries: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Put the worst errors of all cases side by side; solids without edges and cracks together."""
    columns = {}
    for case, table in summaries.items():
        alone = table["quantity"].str.contains("crack|inner") | (table["solid"] == "box")
        group = table["solid"].where(alone, "no edges")
        worst = table.groupby(["quantity", group], sort=False)["worst"]
        columns[case] = worst.agg(lambda values: values.iloc[values.abs().argmax()])
    table = pd.DataFrame(columns).reset_index()
    table.insert(2, "limit", table["quantity"].map(LIMITS))
    return table


def prove_intact_balls() -> None:
    """Print the damage that both presets see in intact balls."""
    rows = []
    for radius_vx in (10, 15, 25, 35, 50, 70):
        solid = solids.digitise(solids.ball(radius_vx * 0.1))
        found = [
            measure_solids([solid], preset=preset).iloc[0]["damage"]
            for preset in ("corrected", "paper")
        ]
        rows.append([radius_vx, *map(float, found)])
    names = ["radius in voxels", "corrected", "paper"]
    print_markdown("Damage of an intact ball", pd.DataFrame(rows, columns=names))


def compare_oracles(path: Path, edge_um: float = 0.1) -> None:
    """Print relative differences to other libraries on the particles of a map of phases."""
    labels = oracles.split_phase(tifffile.imread(path) == 1)
    voxel_um = (edge_um,) * 3
    table = measure_arrays(labels, voxel_um=voxel_um, closing_um=0.0, block=128, workers=2)
    kept = table.index[~table["touches_border"] & (table["voxel_count"] >= LEAST_VX)]
    ours = table.loc[kept]
    found = {
        "SimpleITK": oracles.measure_with_itk(labels, voxel_um),
        "DIPlib": oracles.measure_with_diplib(labels, edge_um),
        "scikit-image": oracles.measure_with_skimage(labels, voxel_um),
    }
    rows = []
    for name, oracle in found.items():
        theirs = oracle.loc[kept]
        pairs = {
            "voxel count": (ours["voxel_count"], theirs["voxel_count"]),
            "volume": (ours["volume_um3"], theirs["volume"]),
            **{f"centroid {axis}": (ours[f"{axis}_um"], theirs[axis]) for axis in "xyz"},
            "outer surface": (ours["surface_outer_um2"], theirs["surface"]),
            "elongation": (
                ours["elongation"], np.sqrt(theirs["spread_0"] / theirs["spread_2"])
            ),
        }  # fmt: skip
        for quantity, (mine, other) in pairs.items():
            error = mine / other - 1
            rows.append([name, quantity, float(error.mean()), float(error.abs().max())])
    columns = ["library", "quantity", "mean difference", "largest"]
    title = f"{len(kept)} whole particles of {path.name}, of {len(table)}"
    print_markdown(title, pd.DataFrame(rows, columns=columns))


def main() -> None:
    """Print all tables."""
    logging.disable(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--poses", type=int, default=12, help="random poses of each solid")
    parser.add_argument("--ct", type=Path, help="a map of phases (TIFF stack), 1 = particles")
    settings = parser.parse_args()
    prove_solids(settings.poses)
    prove_intact_balls()
    if settings.ct is not None:
        compare_oracles(settings.ct)


if __name__ == "__main__":
    main()
