"""Exports to tables, a figure and a page; cells beside SEM frames."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.electrochemistry.summary import RawCycling
from ncm_kedro.params.cycling import CyclingParams


def measure_cycling(
    raw: RawCycling, params: CyclingParams
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read every export; a file that cannot be used gets a problem, the others go on."""
    from ncm_kedro.electrochemistry.measure import measure_cells
    from ncm_kedro.electrochemistry.summary import tabulate_cells

    found = measure_cells(raw, params)
    cells = tabulate_cells(found.cycles, found.bad_rows, found.cells, params)
    return found.cycles, found.curves, found.bad_rows, found.files, cells


def summarise_cycling(cycles: pd.DataFrame) -> pd.DataFrame:
    """Average over the cells of each composition and class."""
    from ncm_kedro.electrochemistry.summary import summarise_groups

    return summarise_groups(cycles)


def report_cycling(
    *,
    summary: pd.DataFrame,
    curves: pd.DataFrame,
    cells: pd.DataFrame,
    bad_rows: pd.DataFrame,
    files: pd.DataFrame,
    params: CyclingParams,
) -> tuple[dict[str, Figure], str]:
    """Draw the figure, and write the page that holds it."""
    from ncm_kedro.plotting.cycling import plot_cycling, render_cycling_report

    figure = plot_cycling(
        summary, curves, by=params.figure_by, reference_cycle=params.reference_cycle
    )
    page = render_cycling_report(
        summary=summary,
        cells=cells,
        bad_rows=bad_rows,
        files=files,
        figure=figure,
        by=params.figure_by,
        reference_cycle=params.reference_cycle,
    )
    return {"capacity.png": figure}, page


def join_cycling_to_frames(manifest: pd.DataFrame, cells: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Join SEM frames to cells, and write a page on it."""
    from ncm_kedro.electrochemistry.measure import join_frames
    from ncm_kedro.plotting.cycling import render_join_report

    joined = join_frames(manifest, cells)
    return joined, render_join_report(joined)
