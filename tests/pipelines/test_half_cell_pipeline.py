"""From a section to the page and the files for ParaView, through the nodes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("ngsolve")

from ncm_kedro.params.half_cell.case import HalfCellParams
from ncm_kedro.particles.plan import ParticleTables
from ncm_kedro.pipelines.half_cell import nodes
from ncm_kedro.tomo.volumes.volume import Volume, Volumes

TINY = {
    "layout": {
        "width_um": 5.5, "height_um": 6.0, "separator_um": 4.0, "split_x_um": 2.75,
        "circles": [{"x_um": 2.75, "y_um": 3.0, "radius_um": 2.0}],
    },
    "mesh": {"interface_um": 1.2, "bulk_um": 3.0},
    "load": {"cycles": 1},
    "stepping": {"tolerance": 0.5, "step_max_s": 200.0},
}  # fmt: skip


def simulate_and_report(section, params, folder):
    simulate = nodes.make_simulation("tiny")
    steps, particles, cycles, debonding, metrics, result = simulate(
        section=section, params=params, folder=folder / "work"
    )
    figures, page = nodes.report_half_cell(
        result=result, steps=steps, particles=particles, cycles=cycles, debonding=debonding,
        folder=folder / "fields",
    )  # fmt: skip
    return steps, debonding, metrics, figures, page


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    params = HalfCellParams.model_validate(TINY)
    return folder, simulate_and_report(nodes.draw_half_cell(params), params, folder)


def test_fields_of_every_half_cycle_are_written_for_paraview(reported):
    folder, _ = reported
    files = sorted(path.name for path in (folder / "fields" / "tiny").iterdir())
    assert files == ["001_charge.vtu", "001_discharge.vtu", "charge.gif"]
    content = (folder / "fields" / "tiny" / "001_charge.vtu").read_bytes()
    for name in (b"stoichiometry", b"stress_gpa", b"material"):
        assert name in content


def test_metrics_are_those_of_the_cycles(reported):
    _, (steps, _, metrics, _, _) = reported
    capacity = steps[steps["half"] == "discharge"]["capacity_fraction"].max()
    assert metrics["discharge_capacity"] == [{"value": capacity, "step": 1}]
    assert "rank_correlation" not in metrics  # one cycle has none before it


def test_the_page_holds_every_figure_and_the_animation(reported):
    _, (*_, figures, page) = reported
    assert len(re.findall("data:image/webp", page)) == len(figures)
    assert len(re.findall("data:image/gif", page)) == 1


@pytest.mark.slow
def test_labels_become_a_cell_whose_damage_stands_beside_the_measured_one(tmp_path):
    z, y = np.mgrid[:40, :48]
    ids = ((z - 20) ** 2 + (y - 22) ** 2 < 9**2).astype(np.uint32) * 6
    array = np.repeat(ids[:, :, None], 3, axis=2)
    volumes = Volumes({"a": Volume("a", Path(), array, (array,), (0.25,) * 3)})
    section = {"window_um": 6.0, "min_diameter_um": 1.0}
    params = HalfCellParams.model_validate({**TINY, "section": section})
    drawn, outlines = nodes.cut_half_cell(tomograms=volumes, labels=volumes, params=params)
    _, debonding, *_ = simulate_and_report(drawn, params, tmp_path)
    attributes = ParticleTables({"a": pd.DataFrame({"particle_id": [6], "damage": [0.02]})}, {})
    pairs, _ = nodes.compare_half_cell_damage(outlines, debonding, attributes)
    assert pairs[["particle_id", "measured"]].to_numpy().tolist() == [[6, 0.02]]
    assert pairs["simulated"].between(0, 1).all()
