"""Every method is scored on every sample whose truth is known, and on no other."""

import numpy as np
import pytest
import zarr

from ncm_kedro.contracts.tomo import SegmentationScores
from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_segment import TomoScoringParams
from ncm_kedro.tomo.scoring.baselines import name_method, split_name
from ncm_kedro.tomo.scoring.table import score_samples
from ncm_kedro.tomo.volumes.volume import Volume

SHAPE = (12, 24, 24)


def make_volume(name: str, labels_zyx, tmp_path) -> Volume:
    array = zarr.create_array(tmp_path / name, shape=SHAPE, dtype=np.uint32)
    array[:] = labels_zyx
    return Volume(name, tmp_path / name, array, (array,), (1.0, 1.0, 1.0), {}, {"fingerprint": "f"})


def draw_truth():
    truth = np.zeros(SHAPE, np.int32)
    truth[2:10, 2:10, 2:10] = 1
    truth[2:10, 12:20, 12:20] = 2
    truth[0, 23, 23] = 3  # too small to count
    return truth


def test_methods_get_the_scores_that_they_deserve(tmp_path):
    truth = draw_truth()
    perfect = np.where(truth == 3, 0, truth)
    joined = np.where(perfect > 0, 7, 0)
    labels = {name: make_volume(name, perfect, tmp_path) for name in ("a", "b_c", "unknown")}
    others = {
        name_method("b_c", "paper"): make_volume(name_method("b_c", "paper"), joined, tmp_path)
    }
    scores = score_samples(
        ["a", "b_c", "unknown"],
        labels,
        others,
        {"a": truth, "b_c": truth},
        TomoScoringParams(min_volume_um3=2),
    )
    SegmentationScores.validate(scores)
    assert scores[["sample", "method"]].to_numpy().tolist() == [
        ["a", "default"], ["b_c", "default"], ["b_c", "paper"],
    ]  # fmt: skip
    assert scores["ap_90"].tolist() == [1.0, 1.0, 0.0]
    assert scores["merges"].tolist() == [0, 0, 1]
    assert scores["n_true"].tolist() == [2, 2, 2]


def test_without_a_truth_there_are_no_rows(tmp_path):
    labels = {"a": make_volume("a", draw_truth(), tmp_path)}
    scores = score_samples(["a"], labels, {}, {}, TomoScoringParams())
    SegmentationScores.validate(scores)
    assert scores.empty


def test_a_truth_of_another_shape_is_refused(tmp_path):
    labels = {"a": make_volume("a", draw_truth(), tmp_path)}
    with pytest.raises(StoreError, match="known labels of a"):
        score_samples(["a"], labels, {}, {"a": draw_truth()[:-1]}, TomoScoringParams())


@pytest.mark.parametrize("sample", ["cyc10", "a__b", "x_"])
def test_names_of_methods_can_be_taken_apart(sample):
    assert split_name(name_method(sample, "slice_linking")) == (sample, "slice_linking")
