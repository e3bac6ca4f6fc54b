"""From labels to outlines, and damage beside damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("ngsolve")

from ncm_kedro.errors import NcmError
from ncm_kedro.half_cell.mesh import build_mesh
from ncm_kedro.half_cell.sections import cut_section, pair_damage
from ncm_kedro.params.half_cell.case import HalfCellParams
from ncm_kedro.tomo.volumes.volume import Volume

VOXEL_UM = 0.25


def make_volume(ids_zy: np.ndarray, towards: str = "-z") -> Volume:
    """Equal planes; `towards` is where the collector lies, rows of `ids_zy` begin there."""
    array = np.repeat(ids_zy[:, :, None], 3, axis=2)
    if not towards.startswith("-"):
        array = array[::-1]
    if towards.endswith("x"):
        array = array.transpose(1, 2, 0)
    notes = {"axis_to_collector": towards, "fingerprint": "f"}
    return Volume("cell_a", Path(), array, (array,), (VOXEL_UM,) * 3, attributes=notes)  # type: ignore[arg-type]


def draw_labels() -> np.ndarray:
    """Two discs that touch, one that the edge cuts, and a speck."""
    z, y = np.mgrid[:96, :128]
    ids = np.zeros(z.shape, dtype=np.uint32)
    ids[(z - 40) ** 2 + (y - 40) ** 2 < 20**2] = 5
    ids[((z - 40) ** 2 + (y - 80) ** 2 < 20**2) & (ids == 0)] = 9
    ids[(z - 40) ** 2 + (y - 128) ** 2 < 15**2] = 11
    ids[80:83, 60:63] = 13
    return ids


PARAMS = HalfCellParams.model_validate(
    {"section": {"window_um": 26.0, "min_diameter_um": 3.0}, "mesh": {"interface_um": 0.8}}
)


def test_touching_particles_are_parted_and_keep_their_areas() -> None:
    labels = make_volume(draw_labels())
    section, outlines = cut_section(labels, labels, PARAMS)
    assert list(outlines["particle_id"]) == [5, 9]
    assert outlines["area_kept"].between(0.98, 1.005).all()
    cell = build_mesh(section, PARAMS.mesh)
    assert cell.names == ("label 5", "label 9")
    assert {"particle_1", "particle_2"} <= set(cell.mesh.GetMaterials())


def test_a_particle_that_loses_much_of_its_area_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The plane cuts label 9 in two lobes, of which one is simulated."""
    ids = draw_labels()
    z, y = np.mgrid[:96, :128]
    ids[(z - 75) ** 2 + (y - 80) ** 2 < 12**2] = 9
    labels = make_volume(ids)
    _, outlines = cut_section(labels, labels, PARAMS)
    kept = outlines.set_index("particle_id")["area_kept"]
    assert kept[5] > 0.98
    assert kept[9] < 0.8
    assert "label 9" in caplog.text
    assert "label 5" not in caplog.text


def test_grey_values_choose_the_carbon_that_conducts() -> None:
    labels = make_volume(draw_labels())
    grey = make_volume(np.tile(np.where(np.arange(128) < 60, 200, 90), (96, 1)))
    params = PARAMS.model_copy(
        update={"section": PARAMS.section.model_copy(update={"cb_from": "grey"})}
    )
    section, _ = cut_section(labels, grey, params)
    left, right = section.is_high(np.array([1.0, 25.0]), np.array([10.0, 10.0]))
    assert left
    assert not right


@pytest.mark.parametrize("towards", ["z", "x", "-x"])
def test_the_collector_lies_where_the_sample_says(towards: str) -> None:
    labels, turned = make_volume(draw_labels()), make_volume(draw_labels(), towards)
    expected, _ = cut_section(labels, labels, PARAMS)
    found, outlines = cut_section(turned, turned, PARAMS)
    assert outlines.attrs["labels"] == "f"
    for mine, theirs in zip(found.outlines, expected.outlines, strict=True):
        np.testing.assert_allclose(mine.polygon_nx2, theirs.polygon_nx2)


def test_bright_particles_do_not_make_carbon_conduct() -> None:
    """Of one dim CB beside bright particles and the speck that counts as CB."""
    ids = draw_labels()
    labels, grey = make_volume(ids), make_volume(np.where(ids > 0, 200, 90))
    params = PARAMS.model_copy(
        update={"section": PARAMS.section.model_copy(update={"cb_from": "grey"})}
    )
    section, _ = cut_section(labels, grey, params)
    across = np.linspace(0.0, section.width_um, 60)
    assert not section.is_high(*(one.ravel() for one in np.meshgrid(across, across))).any()


def test_rings_are_refused() -> None:
    labels = make_volume(draw_labels())
    params = PARAMS.model_copy(
        update={"material": PARAMS.material.model_copy(update={"symmetry": "axisymmetric"})}
    )
    with pytest.raises(NcmError, match="axisymmetric"):
        cut_section(labels, labels, params)


def test_labels_without_a_complete_particle_are_an_error() -> None:
    ids = np.zeros((64, 64), dtype=np.uint32)
    ids[:, 10:30] = 3
    with pytest.raises(NcmError) as caught:
        cut_section(make_volume(ids), make_volume(ids), PARAMS)
    assert "cell_a" in caught.value.where


def test_simulated_damage_stands_beside_the_measured_one_of_the_same_particle() -> None:
    outlines = pd.DataFrame({"name": ["label 2", "label 7", "label 4"], "particle_id": [2, 7, 4]})
    debonding = pd.DataFrame({"name": ["label 7", "label 4", "label 2"], "damage": [0.3, 0.2, 0.1]})
    attributes = pd.DataFrame({"particle_id": [4, 2, 7], "damage": [0.05, 0.01, 0.5]})
    pairs = pair_damage(outlines, debonding, attributes).set_index("particle_id")
    assert pairs.loc[7].to_dict() == {"name": "label 7", "simulated": 0.3, "measured": 0.5}
    assert pairs.attrs["spearman"] == pytest.approx(1.0)
