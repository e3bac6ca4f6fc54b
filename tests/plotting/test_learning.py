from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from ncm_kedro.learning.evaluation.metrics import evaluate_predictions
from ncm_kedro.params.tune_train import EvaluationParams
from ncm_kedro.plotting.sem.learning import (
    plot_class_report,
    plot_confusion,
    plot_reliability,
    plot_scores,
    plot_training_curves,
    plot_trials,
)

COMPOSITIONS = ("333", "523", "622", "811")
STATES = ("pristine", "formation", "cycled")
CLASSES = tuple(f"{c}_{s}" for c in COMPOSITIONS for s in STATES)


def render(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


@pytest.fixture(name="report", scope="module")
def fixture_report() -> dict:
    rng = np.random.default_rng(0)
    labels = np.arange(480) % 12
    logits = rng.normal(0, 1, (480, 12)) + 3 * np.eye(12)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return evaluate_predictions(
        probabilities,
        labels,
        [f"a{row % 36}" for row in range(480)],
        class_names=CLASSES,
        compositions=[c for c in COMPOSITIONS for _ in STATES],
        states=list(STATES) * 4,
        params=EvaluationParams(n_bootstrap=100),
    )


def test_training_curves_mark_the_kept_epoch():
    history = [
        {
            "epoch": epoch,
            "train_loss": 2.0 / epoch,
            "validation_loss": 2.2 / epoch,
            "train_accuracy": 0.3,
            "validation_balanced_accuracy": 0.4,
            "validation_score": score,
        }
        for epoch, score in enumerate((0.2, 0.9, 0.5), start=1)
    ]
    figure = plot_training_curves(history)
    left = figure.axes[0]
    assert left.lines[0].get_ydata().tolist() == [2.0, 1.0, pytest.approx(2 / 3)]
    assert "selected: epoch 2" in [text.get_text() for text in left.get_legend().get_texts()]
    assert render(figure)


def test_confusion_shows_shares_and_counts_of_twelve_classes(report):
    figure = plot_confusion(report["class"]["confusion"], CLASSES, "test split")
    axes = figure.axes[0]
    shown = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shown.sum(axis=1), 1.0)
    assert len(axes.texts) == np.count_nonzero(report["class"]["confusion"])
    assert [label.get_text() for label in axes.get_xticklabels()] == list(CLASSES)
    assert render(figure)


def test_confusion_of_an_empty_class_is_blank():
    figure = plot_confusion([[3, 1], [0, 0]], ["a", "b"], "t")
    assert np.asarray(figure.axes[0].images[0].get_array())[1].tolist() == [0.0, 0.0]
    assert render(figure)


def test_reliability_prints_error_and_temperature(report):
    figure = plot_reliability(report["calibration"], temperature=1.234)
    title = figure.axes[0].get_title()
    assert "1.23" in title
    assert f"{report['calibration']['expected_error']:.3f}" in title
    assert render(figure)


def test_scores_put_models_beside_each_other(report):
    figure = plot_scores({"network": report, "texture baseline": report}, chance=1 / 12)
    assert [axes.get_title() for axes in figure.axes] == ["class", "composition", "state"]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert {"network", "texture baseline", "chance"} == set(labels)
    assert render(figure)


def test_class_report_has_a_row_per_class(report):
    figure = plot_class_report(report["class"], "test split")
    cells = figure.axes[0].tables[0].get_celld()
    texts = {cell.get_text().get_text() for cell in cells.values()}
    assert set(CLASSES) <= texts
    assert {"precision", "recall", "F1", "crops", "areas"} <= texts
    assert render(figure)


def test_trials_of_every_status_are_shown():
    base = {"learning_rate": 1e-3, "batch_size": 8, "best_score": 0.5}
    trials = [base | {"status": status} for status in ("finished", "stopped", "stopped")]
    trials.append(base | {"status": "failed", "best_score": None})
    figure = plot_trials(trials)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["finished (1)", "stopped (2)", "failed"]
    assert render(figure)


def test_search_that_is_switched_off_says_so():
    figure = plot_trials([])
    assert [text.get_text() for text in figure.axes[0].texts] == ["search switched off"]
    assert render(figure)
