"""Folders of networks: round trip, export, and what is said of broken ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from detector_cases import write_network

from ncm_kedro.errors import ModelError
from ncm_kedro.params.tomo_train import NetworkParams
from ncm_kedro.tomo.detector.detector import STARTER_FOLDER, load_detector
from ncm_kedro.tomo.detector.files import find_weights, read_shape, read_thresholds, read_weights
from ncm_kedro.tomo.detector.network import export_network, load_network, predict_network

SHAPES = [
    NetworkParams(n_rays=8, unet_depth=1, filters=4, features=8),
    NetworkParams(n_rays=32, grid_px=1, unet_depth=2, filters=4, features=8),
    NetworkParams(n_rays=16, grid_px=4, unet_depth=2, filters=4, features=8),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "model"
    write_network(path)
    return path


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


@pytest.mark.parametrize("params", SHAPES, ids=lambda p: f"grid{p.grid_px}")
def test_every_runtime_computes_what_keras_computes(tmp_path, params):
    model = write_network(tmp_path / "model", params)
    parity = export_network(tmp_path / "model", model=model)
    assert parity.prob < 1e-5
    assert parity.dist_px < 1e-4
    assert (tmp_path / "model" / "detector.onnx").is_file()
    sections = np.random.default_rng(1).random((2, 64, 48), dtype=np.float32)
    prob, dist = predict_network(model, sections)
    for runtime in ("openvino", "onnxruntime", "torch"):
        detector = load_detector(tmp_path / "model", runtime=runtime, precision="f32", threads=1)
        found = detector.predict(sections)
        np.testing.assert_allclose(found.prob_nyx, prob, atol=1e-5)
        np.testing.assert_allclose(found.dist_nkyx, dist, atol=1e-4)


def test_folder_round_trip(folder):
    sections = np.random.default_rng(2).random((1, 32, 32), dtype=np.float32)
    detector = load_detector(folder, runtime="onnxruntime", precision="f32")
    prob, dist = predict_network(load_network(folder), sections)
    np.testing.assert_allclose(detector.predict(sections).prob_nyx, prob, atol=1e-5)
    np.testing.assert_allclose(detector.predict(sections).dist_nkyx, dist, atol=1e-4)
    assert (detector.prob_threshold, detector.nms_threshold) == (0.45, 0.25)
    assert (detector.grid, detector.n_rays) == (2, 8)


def test_published_folder_without_best_weights(copy):
    find_weights(copy).rename(copy / "weights_last.h5")
    (copy / "thresholds.json").unlink()
    assert read_thresholds(copy) == (0.5, 0.4)
    assert read_weights(copy, read_shape(copy))
    load_network(copy)


def edit_config(folder, **entries):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"n_dim": 3}, "3 dimensions"),
        ({"n_channel_in": 3}, "3 input channels"),
        ({"unet_batch_norm": True}, "batch normalisation"),
        ({"backbone": "resnet"}, "backbone resnet"),
        ({"n_classes": 2}, "2 object classes"),
        ({"grid": [2, 4]}, "grid"),
        ({"n_rays": None}, "missing or malformed"),
    ],
)
def test_other_kinds_of_networks_are_refused(copy, entries, message):
    edit_config(copy, **entries)
    with pytest.raises(ModelError, match=message):
        load_detector(copy)


def test_other_number_of_rays(copy):
    with pytest.raises(ModelError, match=r"8 rays.*expected one with 32"):
        load_detector(copy, n_rays=32)
    edit_config(copy, n_rays=32)
    with pytest.raises(ModelError, match="layer dist"):
        load_detector(copy)


def test_damaged_and_missing_files(copy, tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        load_detector(tmp_path / "nowhere")
    weights = find_weights(copy)
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="cannot be read as weights"):
        load_detector(copy)
    weights.unlink()
    with pytest.raises(ModelError, match="no weights"):
        load_detector(copy)
    weights.write_bytes(content)
    with h5py.File(weights, "r+") as file:
        file["prob"][next(iter(file["prob"]))]
        del file["middle_2"]
    with pytest.raises(ModelError, match=r"middle_2"):
        load_detector(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_detector(copy)
    (copy / "config.json").unlink()
    with pytest.raises(ModelError, match="no config"):
        load_detector(copy)


def test_weights_that_are_not_finite(copy):
    with h5py.File(find_weights(copy), "r+") as file:

        def spoil(name, item):
            if isinstance(item, h5py.Dataset) and name.startswith("features") and item.ndim == 4:
                item[0, 0, 0, 0] = np.nan

        file.visititems(spoil)
    with pytest.raises(ModelError, match="features that are not finite"):
        load_detector(copy)


def test_inference_does_without_tensorflow():
    code = (
        "import sys, numpy as np\n"
        "from ncm_kedro.tomo.detector.detector import load_detector\n"
        "import ncm_kedro.tomo.sections.sections\n"
        "load_detector(threads=1).predict(np.zeros((1, 32, 32), np.float32))\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    assert STARTER_FOLDER.is_dir()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
