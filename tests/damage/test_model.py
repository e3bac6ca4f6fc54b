"""Forests on other particles: predictions, limits, and the way through a folder."""

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.damage.model import (
    EVERY_SAMPLE,
    fit_model,
    predict_particles,
    read_model,
    write_model,
)
from ncm_kedro.damage.preparation import DamageData
from ncm_kedro.errors import ModelError
from ncm_kedro.params.damage_attribution import AttributionParams, DamageForestParams

FOREST = DamageForestParams(trees=12, max_leaves=16)
INPUTS = ("z_um", "contact", "elongation")


def make_data():
    """Damage follows depth in cyc10 and contact in cyc50."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.uniform(0, 1, (240, 3)), columns=list(INPUTS))
    rows.insert(0, "sample", ["cyc10"] * 120 + ["cyc50"] * 120)
    rows["damage"] = np.where(rows["sample"] == "cyc10", rows["z_um"], rows["contact"]) * 0.5
    empty = pd.DataFrame()
    return DamageData(
        rows=rows, samples=("cyc10", "cyc50"), inputs=INPUTS, leaking=(),
        groups=tuple((name,) for name in INPUTS), counts=empty,
        excluded_attributes=empty, rejections={},
        notes=(), comparable=True, preset="corrected",
    )  # fmt: skip


def fit(data, explains=(True, True), seed=0):
    scores = pd.DataFrame(
        {"sample": ["cyc10", "cyc10", "cyc50"], "model": ["forest", "linear", "forest"],
         "explains": [explains[0], False, explains[1]]}
    )  # fmt: skip
    return fit_model(data, scores, FOREST, AttributionParams(seed=seed))


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def model(data):
    return fit(data)


def test_answers_are_those_of_the_forest_and_the_sum_of_its_parts(data, model):
    answer = predict_particles(model, data.rows)
    shap = answer[[f"shap_{name}" for name in INPUTS]]
    np.testing.assert_allclose(
        answer["base"] + shap.sum(axis=1), answer["damage_predicted"], atol=1e-12
    )
    for sample, part in data.rows.groupby("sample"):
        expected = model.forests[sample].predict(part[list(INPUTS)].to_numpy())
        np.testing.assert_allclose(answer.loc[part.index, "damage_predicted"], expected, atol=1e-12)
        assert answer.loc[part.index, "damage_predicted"].corr(part["damage"]) > 0.95
    assert (answer["problem"] == "").all()
    assert (answer["outside"] == "").all()


def test_each_sample_has_a_forest_of_its_own(data, model):
    assert list(model.forests) == [EVERY_SAMPLE, "cyc10", "cyc50"]
    answer = predict_particles(model, data.rows)
    sizes = answer.filter(like="shap_").abs().groupby(data.rows["sample"]).mean()
    assert sizes.idxmax(axis=1).to_dict() == {"cyc10": "shap_z_um", "cyc50": "shap_contact"}


def test_without_a_sample_the_forest_of_all_is_asked(data, model):
    particles = data.rows[list(INPUTS)]
    unnamed = predict_particles(model, particles)
    expected = model.forests[EVERY_SAMPLE].predict(particles.to_numpy())
    np.testing.assert_allclose(unnamed["damage_predicted"], expected, atol=1e-12)
    for name in (None, EVERY_SAMPLE):
        pd.testing.assert_frame_equal(
            predict_particles(model, particles.assign(sample=name)), unnamed
        )


def test_rows_and_columns_may_come_in_any_order(data, model):
    shuffled = data.rows.sample(frac=1, random_state=1)[["contact", "sample", "elongation", "z_um"]]
    answer = predict_particles(model, shuffled)
    assert answer.index.equals(shuffled.index)
    pd.testing.assert_frame_equal(answer.sort_index(), predict_particles(model, data.rows))


def test_particles_without_an_answer_say_why(data, model):
    particles = data.rows.head(4).copy()
    particles.loc[1, ["z_um", "elongation"]] = np.nan
    particles.loc[2, "sample"] = "cyc99"
    particles.loc[3, "contact"] = np.inf
    answer = predict_particles(model, particles)
    assert answer["problem"].tolist() == [
        "", "no value of z_um, elongation",
        "no forest of this sample: there are those of all, cyc10, cyc50", "no value of contact",
    ]  # fmt: skip
    numbers = answer.drop(columns=["outside", "problem"])
    assert numbers.notna().all(axis=1).tolist() == [True, False, False, False]
    assert numbers.isna().all(axis=1).tolist() == [False, True, True, True]


def test_values_beyond_those_of_training_are_marked_and_still_answered(data, model):
    particles = data.rows.head(3).copy()
    particles.loc[1, "z_um"] = model.lowest[0] - 1e-6
    particles.loc[2, ["contact", "elongation"]] = [model.highest[1] + 1, -5.0]
    answer = predict_particles(model, particles)
    assert answer["outside"].tolist() == ["", "z_um", "contact, elongation"]
    assert answer["damage_predicted"].notna().all()


def test_a_missing_attribute_is_named(data, model):
    with pytest.raises(ModelError, match="no column contact") as caught:
        predict_particles(model, data.rows.drop(columns="contact"))
    assert "corrected" in str(caught.value)


def test_the_forest_of_all_explains_if_those_of_all_samples_do(data, model):
    assert model.explains == {"cyc10": True, "cyc50": True, EVERY_SAMPLE: True}
    assert fit(data, (True, False)).explains == {
        "cyc10": True, "cyc50": False, EVERY_SAMPLE: False,
    }  # fmt: skip


def test_the_seed_makes_the_model(data, model):
    first, again, other = (
        predict_particles(each, data.rows) for each in (model, fit(data), fit(data, seed=1))
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_a_model_survives_its_folder(data, model, tmp_path):
    write_model(model, tmp_path / "deep" / "model")
    back = read_model(tmp_path / "deep" / "model")
    pd.testing.assert_frame_equal(
        predict_particles(back, data.rows), predict_particles(model, data.rows)
    )
    assert (back.inputs, back.preset, back.explains) == (model.inputs, "corrected", model.explains)
    np.testing.assert_array_equal(back.lowest, model.lowest)


@pytest.mark.parametrize("spoilt", ["model.json", "forests.npz"])
def test_a_folder_that_cannot_be_read_is_named(model, tmp_path, spoilt):
    with pytest.raises(ModelError, match="no attribution model"):
        read_model(tmp_path)
    write_model(model, tmp_path)
    (tmp_path / spoilt).write_bytes(b"no model")
    with pytest.raises(ModelError, match="damage_attribution") as caught:
        read_model(tmp_path)
    assert str(tmp_path) in str(caught.value)
