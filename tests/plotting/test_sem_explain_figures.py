"""Figures of explained crops show what they were given."""

import numpy as np
import pytest

from explain_cases import make_tables
from ncm_kedro.learning.explain.maps import MAP_KINDS, CascadeStep
from ncm_kedro.params.sem_explain import SemExplainParams
from ncm_kedro.plotting.sem.attention import plot_boundaries, plot_cascade
from ncm_kedro.plotting.sem.explain import plot_class_maps, plot_error_maps, plot_kind_maps
from ncm_kedro.sem.explain.attention import evaluate_cascade, explain_chosen_crops
from ncm_kedro.sem.explain.crops import choose_crops, load_inputs

PARAMS = SemExplainParams.model_validate(
    {
        "choice": {"random": 2},
        "attention": {"shifts": 19, "n_bootstrap": 100},
        "device": "cpu",
    }
)


def explain(tables, predictions):
    frames, crops, _, classifier = tables
    chosen = choose_crops(predictions, PARAMS.choice)
    inputs = load_inputs(frames, crops, classifier, chosen)
    return explain_chosen_crops(inputs, chosen, classifier, PARAMS)


@pytest.fixture(scope="module")
def tables():
    return make_tables()


@pytest.fixture(scope="module")
def explained(tables):
    return explain(tables, tables[2])


def list_texts(figure):
    figure.draw_without_rendering()
    titles = [axes.get_title(loc=loc) for axes in figure.axes for loc in ("left", "center")]
    parts = [part.get_suptitle() for part in figure.subfigs]
    return [*titles, *parts, *(text.get_text() for axes in figure.axes for text in axes.texts)]


def test_each_class_has_its_triplet(explained, tables):
    figure = plot_class_maps(explained, tables[3].settings)
    texts = " ".join(list_texts(figure))
    assert all(name in texts for name in tables[3].settings.classes)
    assert sum(bool(axes.images) for axes in figure.axes) == 9


def test_a_class_without_a_right_crop_says_so(tables):
    predictions = tables[2].copy()
    mine = predictions["class"] == "333"
    predictions.loc[mine, "predicted"] = "811"
    predictions.loc[mine, ["p_333", "p_811"]] = predictions.loc[mine, ["p_811", "p_333"]].to_numpy()
    figure = plot_class_maps(explain(tables, predictions), tables[3].settings)
    assert "333: no test crop is right" in list_texts(figure)


def test_kinds_that_a_class_lacks_are_marked(explained):
    texts = list_texts(plot_kind_maps(explained))
    assert texts.count("none") == 2  # 333 and 811_cycled have no error
    assert "misclassified\n" in texts  # above the panel of 333
    assert any(text.startswith("811_cycled  0.") for text in texts)


def test_an_error_shows_both_classes_and_all_probabilities(explained, tables):
    figure = plot_error_maps(explained, tables[3].settings, tables[2])
    texts = " ".join(list_texts(figure))
    assert "true: 811" in texts
    bars = [patch.get_width() for patch in figure.axes[3].patches]
    assert sum(bars) == pytest.approx(1.0)


def test_ratios_are_drawn_beside_all_controls(explained):
    figure = plot_boundaries(explained)
    figure.draw_without_rendering()
    controls = next(axes for axes in figure.axes if len(axes.get_yticks()) == 5)
    found = explained.report["maps"][MAP_KINDS[0]]["ratio"]["value"]
    drawn = [line.get_xdata()[0] for line in controls.lines if len(line.get_xdata()) == 1]
    assert any(value == pytest.approx(found) for value in drawn)


def test_an_unchanged_map_is_named_in_the_figure():
    steps = [
        CascadeStep(
            layer,
            {kind: np.full(3, 0.9 - 0.8 * (kind == MAP_KINDS[0])) for kind in MAP_KINDS},
            {kind: np.ones((8, 8), np.float32) for kind in MAP_KINDS},
        )
        for layer in ("head", "body", "stem")
    ]
    figure = plot_cascade(steps, evaluate_cascade(steps, 0.5))
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "guided Grad-CAM (hardly changes)" in legend
    assert "Grad-CAM" in legend
