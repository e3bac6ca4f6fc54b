"""Networks that attend to boundaries, or away from them, are distinguished."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from explain_cases import (
    PIXEL_UM,
    draw_discs,
    make_edge_net,
    make_explained,
    make_inside_net,
    make_tables,
)
from ncm_kedro.errors import ModelError, TableError
from ncm_kedro.learning.explain.gradcam import explain_crops
from ncm_kedro.learning.explain.maps import (
    GRAD_CAM,
    GUIDED,
    TRAINED,
    CascadeStep,
    pool_p_value,
    score_boundaries,
)
from ncm_kedro.params.sem_explain import BoundaryParams, SemExplainParams
from ncm_kedro.sem.explain.attention import (
    check_maps,
    evaluate_cascade,
    explain_chosen_crops,
    list_attention_metrics,
)
from ncm_kedro.sem.explain.crops import BOUNDARY, choose_crops, load_inputs, mark_regions

BAND = BoundaryParams(particle_um=9.0, smoothing_um=0.6, band_um=2.0)
PARAMS = SemExplainParams.model_validate(
    {
        "choice": {"random": 3},
        "boundary": BAND,
        "attention": {"shifts": 49, "n_bootstrap": 100},
        "check": {"crops": 4},
        "device": "cpu",
    }
)


@pytest.fixture(scope="module")
def tables():
    return make_tables()


@pytest.fixture(scope="module")
def chosen(tables):
    return choose_crops(tables[2], PARAMS.choice)


@pytest.fixture(scope="module")
def inputs(tables, chosen):
    frames, crops, _, classifier = tables
    return load_inputs(frames, crops, classifier, chosen)


@pytest.fixture(scope="module")
def explained(tables, chosen, inputs):
    return explain_chosen_crops(inputs, chosen, tables[3], PARAMS)


def score_network(network, kind):
    grey = np.stack([draw_discs(96, seed=seed)[0] for seed in range(8)])
    masks = np.stack([(mark_regions(image, PIXEL_UM, BAND) == BOUNDARY) for image in grey])
    maps = explain_crops(network, grey.astype(np.float32) / 255, [0] * 8, device="cpu")
    areas = [str(n) for n in range(8)]
    return score_boundaries(maps.list_strengths()[kind], masks, areas, PARAMS.attention)


@pytest.mark.parametrize("kind", [GRAD_CAM, GUIDED])
def test_a_network_that_looks_at_boundaries_scores_above_its_control(kind):
    scores = score_network(make_edge_net(), kind)
    assert (scores.ratio > 1.5 * scores.control).all()
    assert pool_p_value(scores) == pytest.approx(0.02)


@pytest.mark.parametrize("kind", [GRAD_CAM, GUIDED])
def test_a_network_that_looks_inside_scores_below_its_control(kind):
    scores = score_network(make_inside_net(), kind)
    assert (scores.ratio < 0.8 * scores.control).all()
    assert pool_p_value(scores) == 1.0


def test_inputs_are_the_pixels_of_the_crops(tables, chosen, inputs):
    frames, crops, _, classifier = tables
    place = crops.set_index("crop_id").loc[chosen["crop_id"].iloc[4]]
    x, y, size = place["x_px"], place["y_px"], place["size_px"]
    cut = frames[place["frame_id"]][y : y + size, x : x + size]
    np.testing.assert_array_equal(inputs.grey_nyx[4], cut)
    np.testing.assert_allclose(inputs.images_nyx[4], cut / 255.0, atol=1e-6)
    assert inputs.pixel_size_um == PIXEL_UM
    names = np.array(classifier.settings.classes)
    assert names[inputs.targets].tolist() == chosen["target"].tolist()


def test_the_table_has_a_row_per_explained_crop_and_the_report_pools_random_ones(explained, chosen):
    table, report = explained.table, explained.report
    pd.testing.assert_frame_equal(table[chosen.columns], chosen)
    for prefix in ("cam", "guided"):
        for name in ("ratio", "control", "p", "untrained", "boundary", "inside", "between"):
            assert table[f"{prefix}_{name}"].notna().any()
    assert report["crops"] == 9
    assert report["areas"] == 6
    found = report["maps"][GUIDED]
    assert found["excess"]["value"] == pytest.approx(
        found["ratio"]["value"] / found["control"]["value"]
    )
    assert set(found["by_class"]) == {"333", "811", "811_cycled"}
    assert set(found["by_kind"]) == {"confident", "random", "misclassified", "uncertain"}
    assert report["maps"][GRAD_CAM]["cell_um"] > found["cell_um"] == PIXEL_UM
    metrics = list_attention_metrics(report)
    assert metrics["guided_grad_cam.ratio"] == {"value": found["ratio"]["value"], "step": 0}


def test_the_same_seed_gives_the_same_table(explained, tables, chosen, inputs):
    again = explain_chosen_crops(inputs, chosen, tables[3], PARAMS)
    pd.testing.assert_frame_equal(explained.table, again.table)
    assert explained.report == again.report


def test_the_check_covers_every_layer(inputs, chosen, tables):
    steps, report = check_maps(inputs, chosen, tables[3], PARAMS)
    assert report["layers"][:2] == [TRAINED, "fc"]
    assert report["maps"][GUIDED]["correlations"][0] == pytest.approx(1.0)
    assert report["layers"][-1].startswith("conv1")
    assert report["crops"] == len(steps[0].correlations[GUIDED]) == 4


def test_a_map_that_never_changes_is_warned_of_and_one_that_vanishes_is_not():
    empty = np.full(3, np.nan)
    step = CascadeStep("fc", {"edges": np.full(3, 0.98), "cam": empty}, {})
    report = evaluate_cascade([step], max_correlation=0.5)
    assert not report["maps"]["edges"]["changed"]
    assert "0.98" in report["maps"]["edges"]["warning"]
    assert report["maps"]["cam"]["changed"]
    assert report["maps"]["cam"]["empty_fraction"] == 1.0
    assert report["maps"]["cam"]["correlations"] == [None]


def test_a_classifier_of_another_split_or_of_other_classes_is_refused(tables, chosen):
    frames, crops, _, classifier = tables
    with pytest.raises(ModelError, match="another crop table"):
        load_inputs(frames, crops, make_explained("f" * 16), chosen)
    settings = classifier.settings.model_copy(update={"classes": ("333", "523", "811")})
    with pytest.raises(ModelError, match="811_cycled"):
        load_inputs(frames, crops, replace(classifier, settings=settings), chosen)


def test_predictions_of_crops_that_are_gone_are_refused(tables, chosen):
    frames, crops, _, _ = tables
    gone = crops[crops["crop_id"] != chosen["crop_id"].iloc[0]]
    with pytest.raises(TableError, match="crops that sem_crops lacks"):
        load_inputs(frames, gone, make_explained(), chosen)
