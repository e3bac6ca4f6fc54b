"""Folders of networks and the detector: export, damage, sizes, threads, identity, reach."""

import json
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from detector_cases import write_network

from ncm_kedro.errors import ModelError, SettingsError
from ncm_kedro.params.tomo_train import NetworkParams
from ncm_kedro.tomo.detector.detector import STARTER_FOLDER, load_detector
from ncm_kedro.tomo.detector.files import find_weights, read_shape, read_thresholds, read_weights
from ncm_kedro.tomo.detector.network import export_network, load_network, predict_network
from ncm_kedro.tomo.detector.runtimes import resolve_precision, resolve_runtime

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


def cut_weights(folder):
    weights = find_weights(folder)
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def spoil_weights(folder):
    with h5py.File(find_weights(folder), "r+") as file:
        kernels = []
        file["features"].visititems(lambda _, item: kernels.append(item))
        next(k for k in kernels if getattr(k, "ndim", 0) == 4)[0, 0, 0, 0] = np.nan


def drop_layer(folder):
    with h5py.File(find_weights(folder), "r+") as file:
        del file["middle_2"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_weights, "cannot be read as weights"),
        (spoil_weights, "features that are not finite"),
        (drop_layer, "middle_2"),
        (lambda f: find_weights(f).unlink(), "no weights"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "config.json").unlink(), "no config"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_damaged_and_missing_files(copy, damage, message):
    damage(copy)
    with pytest.raises(ModelError, match=message):
        load_detector(copy)


def test_inference_does_without_tensorflow():
    code = (
        "import sys, numpy as np\n"
        "from ncm_kedro.tomo.detector.detector import load_detector\n"
        "import ncm_kedro.tomo.detector.sections\n"
        "load_detector(threads=1).predict(np.zeros((1, 32, 32), np.float32))\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    assert STARTER_FOLDER.is_dir()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def detector(folder):
    return load_detector(folder, runtime="openvino", precision="f32", threads=1)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 33, 50), (1, 1, 7), (2, 5, 130)])
def test_any_size(detector, shape):
    found = detector.predict(np.random.default_rng(0).random(shape, dtype=np.float32))
    half = (shape[0], -(-shape[1] // 2), -(-shape[2] // 2))
    assert found.prob_nyx.shape == half
    assert found.dist_nkyx.shape == (half[0], 8, *half[1:])


def test_batches_do_not_change_the_result(detector):
    stack = np.random.default_rng(0).random((5, 600, 600), dtype=np.float32)
    whole = detector.predict(stack)
    single = detector.predict(stack[3:4])
    np.testing.assert_allclose(whole.prob_nyx[3:4], single.prob_nyx, atol=1e-6)


def test_pickles_and_keeps_its_identity(detector):
    sections = np.random.default_rng(0).random((1, 40, 40), dtype=np.float32)
    expected = detector.predict(sections)
    copy = pickle.loads(pickle.dumps(detector))  # noqa: S301
    np.testing.assert_array_equal(copy.predict(sections).prob_nyx, expected.prob_nyx)
    assert copy.fingerprint == detector.fingerprint


def test_identity_changes_with_the_weights(folder, tmp_path):
    write_network(tmp_path / "other", seed=1)
    assert load_detector(tmp_path / "other").fingerprint != load_detector(folder).fingerprint


def test_threads_share_it(detector):
    stacks = [np.random.default_rng(n).random((1, 64, 64), dtype=np.float32) for n in range(16)]
    expected = [detector.predict(stack).prob_nyx for stack in stacks]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda stack: detector.predict(stack).prob_nyx, stacks))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_reach_is_what_a_prediction_depends_on(detector):
    reach, size = 0, 128
    flat = np.random.default_rng(0).random((1, size, size), dtype=np.float32)
    before = detector.predict(flat).dist_nkyx
    for y in range(60, 68):
        touched = flat.copy()
        touched[0, y, y] += 100
        changed = np.argwhere((detector.predict(touched).dist_nkyx != before).any((0, 1)))
        reach = max(reach, int(np.abs(changed * 2 - y).max()))
    assert reach <= detector.receptive_px
    assert detector.receptive_px - reach <= 4


def test_what_is_refused(detector):
    for wrong in (np.zeros((4, 4), np.float32), np.zeros((0, 4, 4), np.float32)):
        with pytest.raises(SettingsError, match="expected sections"):
            detector.predict(wrong)
    with pytest.raises(SettingsError, match="bfloat16"):
        resolve_precision("bf16", "onnxruntime")
    assert resolve_runtime("auto") in {"openvino", "onnxruntime", "torch"}


@pytest.mark.slow
def test_torchvision_can_be_imported_after_tensorflow():
    """Each brings its own LLVM; in the wrong order the second ends the process."""
    code = (
        "from ncm_kedro.tomo.detector.network import import_stardist; import_stardist(); "
        "import torchvision"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
