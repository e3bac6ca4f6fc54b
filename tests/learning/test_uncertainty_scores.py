"""Coverage, false alarms and AUROC against values by hand and by scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ncm_kedro.learning.evaluation.conformal import ConformalSets, rank_areas, weigh_areas
from ncm_kedro.learning.evaluation.ood import OODDetector
from ncm_kedro.learning.evaluation.uncertainty_scores import (
    CropOODScores,
    measure_auroc,
    score_flag,
    score_sets,
)
from ncm_kedro.params.tune_train import EvaluationParams

PARAMS = EvaluationParams(n_bootstrap=200)


@pytest.fixture
def detector():
    rng = np.random.default_rng(0)
    return OODDetector(
        reference_nd=np.eye(2, dtype=np.float16),
        neighbours=1,
        location=np.zeros(4),
        spread=np.ones(4),
        standard_2d=np.stack([np.zeros(2), np.ones(2)]).astype(np.float32),
        discriminants_2d=np.empty((2, 0), np.float32),
        ranks=rank_areas(rng.normal(size=200), [str(k % 50) for k in range(200)]),
        frame_ranks=rank_areas(np.zeros(2), ["a", "b"]),
        threshold=1.9,
        frame_threshold=1.0,
        false_alarm_rate=0.05,
        foreign_auroc=1.0,
    )


def measure(score, areas, unknown=None):
    score = np.asarray(score, float)
    return CropOODScores(
        feature_distance=score,
        energy=score - 1.0,
        unknown=score > 1.5 if unknown is None else np.asarray(unknown),
        areas=list(areas),
    )


def test_areas_count_alike_in_coverage_and_size():
    members = np.array([[1, 0], [1, 0], [1, 1], [0, 1]], bool)
    sets = ConformalSets(coverage=0.9, thresholds=(0.5, 0.5), n_mosaics=(9, 3), notes=("n",))
    report = score_sets(
        members,
        np.array([0, 0, 0, 0]),
        ["a", "a", "a", "b"],
        classes=("x", "y"),
        sets=sets,
        params=PARAMS,
    )
    assert report["coverage"]["value"] == pytest.approx(0.5)
    assert report["mean_size"]["value"] == pytest.approx((4 / 3 + 1) / 2)
    assert report["singletons"]["value"] == pytest.approx((2 / 3 + 1) / 2)
    assert report["coverage"]["low"] is report["mean_size"]["high"] is None
    assert list(report["per_class"]) == ["x"]
    assert report["per_class"]["x"]["validation_mosaics"] == 9
    assert report["target"] == 0.9
    assert report["notes"][0] == "n"
    assert "2 independent areas" in report["notes"][1]


def test_auroc_is_scikit_learns_with_area_weights():
    rng = np.random.default_rng(1)
    known, ood = rng.normal(size=90).round(1), rng.normal(1.0, 1.0, 60).round(1)
    areas = [f"k{v}" for v in rng.integers(0, 17, 90)]
    others = [f"f{v}" for v in rng.integers(0, 9, 60)]
    report = measure_auroc(
        known,
        ood,
        known_areas=areas,
        ood_areas=others,
        params=PARAMS,
    )
    expected = roc_auc_score(
        np.repeat([0, 1], [90, 60]),
        np.concatenate([known, ood]),
        sample_weight=np.concatenate([weigh_areas(areas), weigh_areas(others)]),
    )
    assert report["value"] == pytest.approx(expected)
    assert report["low"] < report["value"] < report["high"]


def test_flag_report_is_complete_and_ready_for_json(detector):
    rng = np.random.default_rng(2)
    known = measure(rng.normal(size=60), [f"a{k % 6}" for k in range(60)])
    ood = measure(rng.normal(9.0, 1.0, 40), ["m"] * 40)
    report = score_flag(known, ood, detector, PARAMS)
    json.dumps(report, allow_nan=False)
    assert report["false_alarms"]["value"] == pytest.approx(known.unknown.mean())
    assert report["detected"] == 1.0
    assert report["auroc"]["score"]["value"] == pytest.approx(1.0)
    shares = report["histogram"]["share"]
    assert {name: sum(share) for name, share in shares.items()} == pytest.approx(
        dict.fromkeys(("validation", "test", "ood"), 1.0)
    )


def test_without_foreign_frames_nothing_is_claimed(detector):
    known = measure(np.zeros(4), "aabb")
    report = score_flag(known, measure([], []), detector, PARAMS)
    assert report["auroc"] is None
    assert report["detected"] is None
    assert "ood" not in report["histogram"]["share"]
