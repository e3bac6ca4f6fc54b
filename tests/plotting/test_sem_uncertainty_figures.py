"""Figures of prediction sets and of the OOD flag show the scores."""

import io

import numpy as np
import pytest

from ncm_kedro.learning.evaluation.conformal import ConformalSets, rank_areas
from ncm_kedro.learning.evaluation.ood import OODDetector
from ncm_kedro.learning.evaluation.uncertainty_scores import CropOODScores, score_flag, score_sets
from ncm_kedro.params.tune_train import EvaluationParams
from ncm_kedro.plotting.sem.classify import plot_ood_scores, plot_prediction_sets

CLASSES = tuple(f"{c}{s}" for c in ("333", "523", "622", "811") for s in ("", "_cycled"))
PARAMS = EvaluationParams(n_bootstrap=100)


def render(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def measure(rng, count, mean, prefix):
    score = rng.normal(mean, 1.0, count)
    areas = [f"{prefix}{k % 24}" for k in range(count)]
    return CropOODScores(score, score - 3.0, score > 1.9, areas)


def report_flag(n_ood):
    rng = np.random.default_rng(0)
    detector = OODDetector(
        reference_nd=np.eye(2, dtype=np.float16),
        neighbours=1,
        location=np.zeros(4),
        spread=np.ones(4),
        standard_2d=np.stack([np.zeros(2), np.ones(2)]).astype(np.float32),
        discriminants_2d=np.empty((2, 0), np.float32),
        ranks=rank_areas(rng.normal(size=300), [str(k % 50) for k in range(300)]),
        frame_ranks=rank_areas(np.zeros(2), ["a", "b"]),
        threshold=1.9,
        frame_threshold=1.0,
        false_alarm_rate=0.05,
        foreign_auroc=1.0,
    )
    known, ood = measure(rng, 240, 0.1, "a"), measure(rng, n_ood, 5.0, "f")
    return score_flag(known, ood, detector, PARAMS)


@pytest.fixture
def sets():
    rng = np.random.default_rng(1)
    labels = np.arange(240) % 24 % 8
    members = rng.random((240, 8)) < 0.15
    members[np.arange(240), labels] = rng.random(240) < 0.92
    fitted = ConformalSets(coverage=0.9, thresholds=(0.5,) * 8, n_mosaics=(9,) * 8)
    areas = [f"a{k % 24}" for k in range(240)]
    return score_sets(members, labels, areas, classes=CLASSES, sets=fitted, params=PARAMS)


def test_every_class_has_its_coverage_and_size_below_all_together(sets):
    figure = plot_prediction_sets(sets)
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["all", *CLASSES]
    shown = left.containers[0].lines[0].get_xdata()
    assert shown[0] == sets["coverage"]["value"]
    assert shown[3] == sets["per_class"]["523"]["coverage"]["value"]
    assert right.get_xlim()[0] == 0.0
    assert render(figure)


def test_the_threshold_stands_between_known_and_foreign():
    flag = report_flag(120)
    figure = plot_ood_scores(flag)
    axes = figure.axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [
        "validation (in-distribution)", "test (in-distribution)", "out-of-distribution material",
        "flagged above",
    ]  # fmt: skip
    assert axes.lines[0].get_xdata()[0] == flag["histogram"]["threshold"]
    assert f"{flag['auroc']['score']['value']:.3f}" in axes.get_title()
    assert render(figure)


def test_without_foreign_frames_the_title_says_so():
    figure = plot_ood_scores(report_flag(0))
    assert "no out-of-distribution frames" in figure.axes[0].get_title()
