"""Sections, simulations, sweeps, and their pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.params.half_cell.case import HalfCellParams, SweepParams
from ncm_kedro.particles.plan import ParticleTables
from ncm_kedro.tomo.review.edits import EditedLabels
from ncm_kedro.tomo.volumes.volume import Volumes


def draw_half_cell(params: HalfCellParams) -> Any:
    """Make the section of circles."""
    from ncm_kedro.half_cell.geometry import lay_out_section

    return lay_out_section(params.layout, half=params.material.symmetry == "axisymmetric")


def cut_half_cell(
    *,
    tomograms: Volumes,
    labels: Volumes,
    reviewed: Volumes,
    edits: dict[str, EditedLabels],
    params: HalfCellParams,
) -> tuple[Any, pd.DataFrame]:
    """Cut a window of the first sample that has one; list which particles it holds.

    Labels corrected by hand are used where there are any.
    """
    from ncm_kedro.errors import Rejections
    from ncm_kedro.half_cell.sections import cut_section
    from ncm_kedro.particles.plan import choose_labels
    from ncm_kedro.tomo.volumes.identity import MADE_FROM, check_belongs

    one = params.section.sample if params.section else ""
    names = [one] if one else sorted({*labels, *labels.rejections}) or ["(any)"]
    rejections = Rejections()
    for name in names:
        with rejections.catch(name, f"sample {name}"):
            chosen = choose_labels(labels.take(name), reviewed.get(name), edits.get(name))
            grey = tomograms.take(name)
            check_belongs(chosen.path, chosen.attributes.get(MADE_FROM), tomogram=grey)
            return cut_section(chosen, grey, params)
    rejections.fail(names[0])


def make_simulation(case: str) -> Callable[..., tuple[Any, ...]]:
    """Make the node of a case: it knows its name, which the log and checkpoints need."""

    def simulate_half_cell(
        *, section: Any, params: HalfCellParams, folder: Path
    ) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any], Any]:
        """Mesh the section and cycle it; half-cycles that are there already are not repeated."""
        from ncm_kedro.half_cell.cycle import run_case, tabulate_case
        from ncm_kedro.half_cell.measures import list_metrics
        from ncm_kedro.half_cell.mesh import build_mesh

        result = run_case(build_mesh(section, params.mesh), params, folder / case, case)
        tables = tabulate_case(result)
        metrics = list_metrics(tables.cycles)
        return tables.steps, tables.particles, tables.cycles, tables.debonding, metrics, result

    return simulate_half_cell


def report_half_cell(
    *,
    result: Any,
    steps: pd.DataFrame,
    particles: pd.DataFrame,
    cycles: pd.DataFrame,
    debonding: pd.DataFrame,
    folder: Path,
) -> tuple[dict[str, Figure], str]:
    """Draw the pictures and the animation, write the fields for ParaView, and render the page."""
    from ncm_kedro.half_cell.fields import write_fields
    from ncm_kedro.plotting.half_cell import draw_half_cell, render_half_cell_report

    figures, animation = draw_half_cell(result, steps, particles, cycles)
    write_fields(result, folder / result.name, animation)
    page = render_half_cell_report(
        result=result, cycles=cycles, debonding=debonding, figures=figures, animation=animation
    )
    return {f"{name}.png": figure for name, figure in figures.items()}, page


def compare_half_cell_damage(
    outlines: pd.DataFrame, debonding: pd.DataFrame, attributes: ParticleTables
) -> tuple[pd.DataFrame, Figure]:
    """Set the damage of the simulated particles beside that measured of the same ones."""
    from ncm_kedro.errors import TableError
    from ncm_kedro.half_cell.sections import pair_damage
    from ncm_kedro.plotting.half_cell import plot_damage_pairs
    from ncm_kedro.tomo.volumes.identity import MADE_FROM, check_belongs

    sample = str(outlines["sample"].iloc[0])
    if sample not in attributes:
        raise TableError(
            f"particle_attributes of {sample}",
            found=attributes.rejections.get(sample, "none"),
            expected="the table of the simulated sample",
            action="run particle_features first, or set section.sample to a sample that has one",
        )
    measured = attributes[sample]
    made_from, used = measured.attrs.get(MADE_FROM), str(outlines.attrs["labels"])
    check_belongs(f"particle_attributes of {sample}", made_from, labels=used)
    pairs = pair_damage(outlines, debonding, measured)
    return pairs, plot_damage_pairs(pairs)


def sweep_half_cells(params: SweepParams, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulate every electrode of the sweep; those that are finished are read."""
    from ncm_kedro.half_cell.sweep import run_sweep

    return run_sweep(params, folder / "sweep")


def report_half_cell_sweep(runs: pd.DataFrame, cycles: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """Summarise synchrony over electrodes, with intervals, and draw it."""
    from ncm_kedro.half_cell.sweep import summarise_sweep
    from ncm_kedro.plotting.half_cell import plot_sweep

    summary = summarise_sweep(runs, cycles)
    return summary, plot_sweep(summary)
