"""From a section to the page and the files for ParaView, through the nodes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytest.importorskip("ngsolve")

from ncm_kedro.contracts.half_cell import HalfCellDamagePairs, HalfCellOutlines
from ncm_kedro.errors import NcmError
from ncm_kedro.half_cell.fields import write_fields
from ncm_kedro.params.half_cell.case import HalfCellParams
from ncm_kedro.particles.plan import ParticleTables
from ncm_kedro.pipelines.half_cell import nodes
from ncm_kedro.tomo.review.edits import EditedLabels
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
    return steps, debonding, metrics, figures, page, result


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


def test_fields_of_an_earlier_run_do_not_stay(reported, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "009_charge.vtu").write_text("of before")
    _, (*_, result) = reported
    write_fields(result, tmp_path / "tiny", b"")
    assert [path.name for path in sorted((tmp_path / "tiny").glob("*.vtu"))] == [
        "001_charge.vtu", "001_discharge.vtu",
    ]  # fmt: skip


def test_the_animation_has_the_colours_of_the_picture(reported):
    """Lithium fills the particle before the charge, and has left it after: yellow, then dark."""
    folder, _ = reported
    with Image.open(folder / "fields" / "tiny" / "charge.gif") as film:
        colours = []
        for frame in range(film.n_frames):
            film.seek(frame)
            rgb = np.asarray(film.convert("RGB"), dtype=int)
            height, width, _ = rgb.shape
            colours.append(rgb[int(0.55 * height), width // 2])
    red, green, blue = colours[0]
    assert min(red, green) > blue + 50
    assert min(colour.sum() for colour in colours) < 300


def test_metrics_are_those_of_the_cycles(reported):
    _, (steps, _, metrics, *_) = reported
    capacity = steps[steps["half"] == "discharge"]["capacity_fraction"].max()
    assert metrics["discharge_capacity"] == [{"value": capacity, "step": 1}]
    assert "rank_correlation" not in metrics  # one cycle has none before it


def test_the_page_holds_every_figure_and_the_animation(reported):
    _, (*_, figures, page, _) = reported
    assert len(re.findall("data:image/webp", page)) == len(figures)
    assert len(re.findall("data:image/gif", page)) == 1


def make_labels(sample, number, fingerprint, **notes):
    """One round particle of a number; all 0 for number 0."""
    z, y = np.mgrid[:40, :48]
    ids = ((z - 20) ** 2 + (y - 22) ** 2 < 9**2).astype(np.uint32) * number
    array = np.repeat(ids[:, :, None], 3, axis=2)
    notes = {"fingerprint": fingerprint, "made_from": {"tomogram": "t"}, **notes}
    return Volume(sample, Path(), array, (array,), (0.25,) * 3, attributes=notes)


LABEL_PARAMS = HalfCellParams.model_validate(
    {**TINY, "section": {"window_um": 6.0, "min_diameter_um": 1.0}}
)


def cut(samples, *, reviewed=None, edits=None, params=LABEL_PARAMS):
    """Cut labels by sample and number; all of one tomogram's fingerprint."""
    grey = {name: make_labels(name, 1, "t") for name in samples}
    labels = {name: make_labels(name, number, name) for name, number in samples.items()}
    return nodes.cut_half_cell(
        tomograms=Volumes(grey), labels=Volumes(labels), reviewed=Volumes(reviewed or {}),
        edits=edits or {}, params=params,
    )  # fmt: skip


def measured(labels):
    table = pd.DataFrame({"particle_id": [6], "damage": [0.02]})
    table.attrs["made_from"] = {"labels": labels}
    return ParticleTables({"a": table}, {})


def test_a_sample_without_particles_does_not_end_the_others():
    _, outlines = cut({"a": 0, "b": 6})
    assert outlines["sample"].to_list() == ["b"]
    with pytest.raises(NcmError, match="no complete particle"):
        cut({"a": 0, "b": 0})
    only = LABEL_PARAMS.model_copy(
        update={"section": LABEL_PARAMS.section.model_copy(update={"sample": "a"})}
    )
    with pytest.raises(NcmError, match="no complete particle"):
        cut({"a": 0, "b": 6}, params=only)


def test_labels_corrected_by_hand_are_simulated():
    edits = EditedLabels(Path(), None, {"original_fingerprint": "a", "saved_at": "now"})
    corrected = make_labels("a", 9, "by hand", edited_from="a", edited_at="now")
    _, outlines = cut({"a": 6}, reviewed={"a": corrected}, edits={"a": edits})
    assert outlines["particle_id"].to_list() == [9]
    assert outlines.attrs["labels"] == "by hand"


def test_damage_of_other_labels_is_not_compared():
    _, outlines = cut({"a": 6})
    debonding = pd.DataFrame({"name": ["label 6"], "damage": [0.1]})
    pairs, _ = nodes.compare_half_cell_damage(outlines, debonding, measured("a"))
    assert pairs["measured"].to_list() == [0.02]
    with pytest.raises(NcmError, match="another labels"):
        nodes.compare_half_cell_damage(outlines, debonding, measured("others"))
    with pytest.raises(NcmError, match="run particle_features"):
        nodes.compare_half_cell_damage(outlines, debonding, ParticleTables({}, {}))


def test_an_axisymmetric_case_is_half_a_section():
    material = {"symmetry": "axisymmetric"}
    circle = {"x_um": 0.0, "y_um": 3.0, "radius_um": 2.0}
    layout = {**TINY["layout"], "circles": [circle]}
    section = nodes.draw_half_cell(
        HalfCellParams.model_validate({**TINY, "layout": layout, "material": material})
    )
    assert section.half


@pytest.mark.slow
def test_labels_become_a_cell_whose_damage_stands_beside_the_measured_one(tmp_path):
    drawn, outlines = cut({"a": 6})
    HalfCellOutlines.validate(outlines)
    _, debonding, *_ = simulate_and_report(drawn, LABEL_PARAMS, tmp_path)
    pairs, _ = nodes.compare_half_cell_damage(outlines, debonding, measured("a"))
    HalfCellDamagePairs.validate(pairs)
    assert pairs[["particle_id", "measured"]].to_numpy().tolist() == [[6, 0.02]]
    assert pairs["simulated"].between(0, 1).all()
