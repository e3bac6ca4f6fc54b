"""The detector: sizes, threads, processes, identity, reach."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from detector_cases import write_network

from ncm_kedro.errors import SettingsError
from ncm_kedro.tomo.detector.detector import load_detector
from ncm_kedro.tomo.detector.runtimes import resolve_precision, resolve_runtime


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "model"
    write_network(path)
    return path


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
