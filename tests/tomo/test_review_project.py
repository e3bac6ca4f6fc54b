"""Suspect particles are ranked; the project opens in napari, and what is saved there comes back."""

import importlib.util
import json
import os
import py_compile
import shutil
import subprocess
import sys
import warnings

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import zarr

from ncm_kedro.errors import TableError
from ncm_kedro.params.tomo_segment import TomoComputeParams, TomoReviewParams
from ncm_kedro.tomo.review.edits import apply_edits, open_edited
from ncm_kedro.tomo.review.review import plan_review, rank_suspects, write_review
from ncm_kedro.tomo.volumes.volume import Volume

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
VOXEL_UM = (0.2, 0.1, 0.1)
SHAPE = (30, 70, 80)


def make_volume(folder, name, values, **extras):
    group = zarr.open_group(folder / f"{name}.ome.zarr", mode="w")
    return Volume(
        name="cyc10",
        path=folder / f"{name}.ome.zarr",
        array=group.create_array("s0", data=values, chunks=(16, 16, 16)),
        levels=(),
        voxel_size_um=VOXEL_UM,
        extras={
            key: group.create_array(f"labels/{key}/s0", data=extra, chunks=(16, 16, 16))
            for key, extra in extras.items()
        },
        attributes={"fingerprint": f"{name}-1"},
    )


@pytest.fixture
def volumes(tmp_path):
    labels = np.zeros(SHAPE, np.uint32)
    labels[4:12, 10:30, 10:30], labels[15:28, 40:60, 40:70] = 1, 2
    image = (80 + 100 * (labels > 0)).astype(np.uint8)
    cracks = np.zeros(SHAPE, np.uint8)
    cracks[6:8, 10:30, 20] = 1
    return (
        make_volume(tmp_path, "image", image),
        make_volume(tmp_path, "probability", image),
        make_volume(tmp_path, "labels", labels, cracks=cracks),
    )


@pytest.fixture
def project(volumes, tmp_path):
    particles = pd.DataFrame(
        {
            "particle_id": [1, 2], "z_um": [1.6, 4.3], "y_um": [2.0, 5.0], "x_um": [2.0, 5.5],
            "equivalent_diameter_um": [2.3, 3.1], "touches_border": [False, False],
            "probability": [0.8, 0.7], "disagreement": [0.5, 0.6],
        }
    )  # fmt: skip
    folder = tmp_path / "review" / "cyc10"
    edits = tmp_path / "edits" / "cyc10" / "edited_labels.zarr"
    write_review(plan_review(*volumes, particles, TomoReviewParams()), folder, edits)
    return folder


@pytest.fixture
def edits(project):
    return project / json.loads((project / "project.json").read_text())["edits"]


@pytest.fixture
def script(project):
    """The script as the user has it, imported from the project's folder."""
    py_compile.compile(str(project / "open_in_napari.py"), doraise=True)
    spec = importlib.util.spec_from_file_location("open_in_napari", project / "open_in_napari.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def viewer():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        components = pytest.importorskip("napari.components")
    return components.ViewerModel()


def test_project_holds_list_paths_and_readme(project):
    listed = pd.read_csv(project / "suspect.csv")
    assert listed["particle_id"].tolist() == [2, 1]
    facts = json.loads((project / "project.json").read_text())
    assert facts["arrays"]["labels"] == "../../labels.ome.zarr/s0"
    assert facts["arrays"]["cracks"] == "../../labels.ome.zarr/labels/cracks/s0"
    assert "labels-1" in (project / "README.md").read_text()
    assert not list(project.glob(".*"))


def test_layers_lie_on_each_other_in_um(script, project, viewer):
    region = script.find_region(script.read_project(project), None, None)
    labels = script.add_layers(viewer, project, region)
    names = [layer.name for layer in viewer.layers]
    assert names == ["image", "probability", "cracks", "labels", "suspect"]
    for layer in viewer.layers[:4]:
        np.testing.assert_allclose(layer.scale, VOXEL_UM)
        assert layer.data.shape == SHAPE
    assert viewer.layers["labels"].data is labels
    assert not viewer.layers["cracks"].editable
    points = viewer.layers["suspect"]
    assert points.features["particle_id"].tolist() == [2, 1]
    for point, number in zip(points.data, (2, 1), strict=True):
        place = viewer.layers["labels"].world_to_data(points.data_to_world(point))
        assert labels[tuple(np.rint(place).astype(int))] == number


def test_painted_and_saved_edits_come_back(script, project, viewer, volumes, edits):
    whole = script.find_region(script.read_project(project), None, None)
    script.add_layers(viewer, project, whole)
    layer = viewer.layers["labels"]
    before = volumes[2].array[:]
    layer.fill((20, 50, 50), 0)  # a fill bucket acts in the section that is shown
    layer.data[before == 1] = 9
    store = script.save_edits(project, np.asarray(layer.data), whole)
    assert store == edits
    plan, log = apply_edits(volumes[2], open_edited(store), TomoComputeParams(workers=1))
    assert log["kind"].tolist() == ["renumbered", "reshaped"]
    assert log["voxels_changed"].tolist() == [8 * 20 * 20, 20 * 30]
    assert plan.attributes["edited_from"] == "labels-1"
    np.testing.assert_array_equal(volumes[2].array[:], before)


def test_a_box_round_a_particle_changes_nothing_else(script, project, viewer, volumes, edits):
    region = script.find_region(script.read_project(project), None, 1)
    labels = script.add_layers(viewer, project, region)
    assert labels.shape != SHAPE
    labels[labels == 1] = 5
    script.save_edits(project, labels, region)
    _, log = apply_edits(volumes[2], open_edited(edits), TomoComputeParams(workers=1))
    assert log[["kind", "particles_before", "particles_after"]].values.tolist() == [
        ["renumbered", "1", "5"]
    ]
    again = script.add_layers(type(viewer)(), project, region)
    np.testing.assert_array_equal(again, labels)


def test_keys_save_and_go_to_the_next(script, project, viewer, edits):
    region = script.find_region(script.read_project(project), None, None)
    script.add_layers(viewer, project, region)
    script.bind_keys(viewer, project, region)
    keys = {str(key): action for key, action in viewer.keymap.items()}
    keys["Shift+N"](viewer)
    assert viewer.layers["labels"].selected_label == 2
    np.testing.assert_allclose(viewer.dims.point, (4.3, 5.0, 5.5), atol=0.2)
    keys["Shift+N"](viewer)
    assert viewer.layers["labels"].selected_label == 1
    keys["Shift+S"](viewer)
    assert edits.is_dir()


def test_regions_are_checked(script, project):
    facts = script.read_project(project)
    part = script.find_region(facts, "0:10,5:20,:", None)
    assert [(p.start, p.stop) for p in part] == [(0, 10), (5, 20), (0, 80)]
    for text in ("0:10", "0:10,5:5,0:3", "90:99,0:1,0:1"):
        with pytest.raises(ValueError, match="region"):
            script.find_region(facts, text, None)
    with pytest.raises(ValueError, match="particle 77"):
        script.find_region(facts, None, 77)
    with pytest.raises(ValueError, match="too many"):
        script.find_region({**facts, "shape_zyx": [2000, 2000, 2000]}, None, None)


def test_edits_of_older_labels_are_neither_opened_nor_overwritten(
    script, project, viewer, volumes, edits
):
    whole = script.find_region(script.read_project(project), None, None)
    script.save_edits(project, volumes[2].array[:], whole)
    description = json.loads((project / "project.json").read_text())
    description["labels_fingerprint"] = "labels-2"
    (project / "project.json").write_text(json.dumps(description))
    before = zarr.open_array(edits)[:]
    with pytest.raises(ValueError, match="edits of other labels"):
        script.add_layers(viewer, project, whole)
    with pytest.raises(ValueError, match="edits of other labels"):
        script.save_edits(project, volumes[2].array[:] * 0, whole)
    np.testing.assert_array_equal(zarr.open_array(edits)[:], before)


def test_writing_again_keeps_edits(script, project, volumes, edits):
    whole = script.find_region(script.read_project(project), None, None)
    script.save_edits(project, volumes[2].array[:], whole)
    particles = pd.DataFrame(
        {name: [] for name in ("particle_id", "z_um", "y_um", "x_um", "equivalent_diameter_um",
                               "touches_border", "probability", "disagreement")}
    )  # fmt: skip
    write_review(plan_review(*volumes, particles, TomoReviewParams()), project, edits)
    assert edits.is_dir()
    assert script.read_suspects(project) == []


LIMITS = TomoReviewParams(min_probability=0.4)


def make_particles(**columns):
    count = max(len(values) for values in columns.values())
    sound = {
        "particle_id": list(range(1, count + 1)), "z_um": [1.0] * count, "y_um": [2.0] * count,
        "x_um": [3.0] * count, "equivalent_diameter_um": [5.0] * count,
        "touches_border": [False] * count, "probability": [0.8] * count,
        "disagreement": [0.05] * count,
    }  # fmt: skip
    return pd.DataFrame({**sound, **columns})


def test_sound_particles_are_not_listed():
    assert rank_suspects(make_particles(probability=[0.8] * 4), LIMITS).empty


def test_order_is_by_disagreement():
    ranked = rank_suspects(make_particles(disagreement=[0.4, 0.1, 0.9, 0.5]), LIMITS)
    assert ranked["particle_id"].tolist() == [3, 4, 1]
    assert ranked["rank"].tolist() == [1, 2, 3]
    assert ranked["doubt"].tolist() == pytest.approx([3.0, 5 / 3, 4 / 3])
    assert set(ranked["reasons"]) == {"the directions disagree"}


def test_further_reasons_raise_the_rank():
    table = make_particles(disagreement=[0.35, 0.32], probability=[0.8, 0.2])
    ranked = rank_suspects(table, LIMITS)
    assert ranked["particle_id"].tolist() == [2, 1]
    assert ranked["reasons"].iloc[0] == "the directions disagree; low probability"


def test_every_reason_is_named():
    ranked = rank_suspects(
        make_particles(
            probability=[0.2, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8],
            equivalent_diameter_um=[5.0, 20.0, 1.0, 5.0, 2.5, 5.0, 1.0],
            neck_uncertainty=[0.0, 0.0, 0.0, 0.9, 0.0, 0.0, 0.0],
            touches_border=[False, False, False, False, True, False, True],
        ),
        LIMITS,
    ).set_index("particle_id")["reasons"]
    assert ranked.to_dict() == {
        1: "low probability",
        2: "much larger than the others",
        3: "much smaller than the others",
        4: "joined or parted at a suspect neck",
        7: "a small piece at the border",
    }


def test_a_particle_with_a_tail_fills_its_box_less():
    table = make_particles(disagreement=[0.1] * 5).assign(voxel_count=520)
    for axis in "zyx":
        table[f"{axis}_start_vx"] = 3
        table[f"{axis}_stop_vx"] = 13
    table.loc[2, "x_stop_vx"] = 19  # as voluminous, in a longer box
    ranked = rank_suspects(table, LIMITS)
    assert ranked["particle_id"].tolist() == [3]
    assert ranked["reasons"].tolist() == ["fills its box less than the others"]
    table["voxel_count"] = 200  # all alike
    table["x_stop_vx"] = 13
    assert rank_suspects(table, LIMITS).empty


def test_list_is_cut_and_a_missing_column_is_named():
    many = make_particles(disagreement=[0.9] * 20)
    assert len(rank_suspects(many, TomoReviewParams(max_listed=7))) == 7
    with pytest.raises(TableError, match="disagreement"):
        rank_suspects(many.drop(columns="disagreement"), LIMITS)


LOOK = """
import os, runpy
import napari
from napari.qt import get_qapp
from qtpy.QtCore import QTimer

application = get_qapp()

def look():
    viewer = napari.current_viewer()
    viewer.dims.set_point(0, 4.3)  # through particle 2
    viewer.screenshot(os.environ["PICTURE"], canvas_only=True, flash=False)
    print([layer.name for layer in viewer.layers], list(viewer.layers["labels"].scale))
    viewer.close()

QTimer.singleShot(5000, look)
runpy.run_path(os.environ["SCRIPT"], run_name="__main__")
"""


@pytest.mark.slow
def test_the_script_opens_a_window_with_the_sample_in_it(project, tmp_path):
    if shutil.which("xvfb-run") is None or not any(
        importlib.util.find_spec(name) for name in ("PyQt5", "PyQt6", "PySide6")
    ):
        pytest.skip("no virtual screen or no Qt here (apt-get install xvfb, pip install PyQt6)")
    picture = tmp_path / "window.png"
    shown = subprocess.run(
        ["xvfb-run", "-a", "-s", "-screen 0 1280x900x24", sys.executable, "-c", LOOK],
        env={**os.environ, "PICTURE": str(picture), "SCRIPT": str(project / "open_in_napari.py")},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr[-3000:]
    assert "['image', 'probability', 'cracks', 'labels', 'suspect']" in shown.stdout
    assert str(list(VOXEL_UM)) in shown.stdout.replace("np.float64(", "").replace(")", "")
    pixels = matplotlib.image.imread(picture)[..., :3].reshape(-1, 3)
    coloured = np.ptp(pixels, axis=1) > 0.2
    assert 0.02 < coloured.mean() < 0.9
