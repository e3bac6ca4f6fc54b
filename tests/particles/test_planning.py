"""Which labels are taken, and what makes a measurement another one."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.errors import StoreError
from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.plan import choose_labels, plan_measurement, select_current
from ncm_kedro.tomo.review.edits import EditedLabels
from ncm_kedro.tomo.volumes.volume import Volume

COMPUTE = TomoComputeParams(workers=1, block_edge_vx=16)
PARAMS = AttributeParams(crack_width=False)


def make_volume(fingerprint, made_from="b", **attributes):
    array = np.zeros((16, 16, 16), np.uint16)
    array[4:12, 4:12, 4:12] = 3
    told = {"fingerprint": fingerprint, "made_from": {"tomogram": made_from}, **attributes}
    return Volume("one", Path("one.zarr"), array, (array,), (0.1, 0.1, 0.1), {}, told)


def make_edits(**attributes):
    return EditedLabels(Path("edits.zarr"), None, {"saved_at": "noon", **attributes})


def test_reviewed_labels_are_taken_where_they_belong_to_the_segmentation(caplog):
    labels = make_volume("new")
    assert choose_labels(labels, None) is labels
    fitting = make_volume("hand", edited_from="new", edited_at="noon")
    with caplog.at_level(logging.WARNING):
        assert choose_labels(labels, fitting, make_edits()) is fitting
        assert not caplog.records
        for reviewed in (make_volume("hand", edited_from="old", edited_at="noon"),
                         make_volume("hand", edited_at="noon")):  # fmt: skip
            caplog.clear()
            assert choose_labels(labels, reviewed, make_edits()) is labels
            assert "earlier segmentation" in caplog.text


def test_reviewed_labels_go_with_the_edits_they_were_made_from(caplog):
    labels = make_volume("new")
    reviewed = make_volume("hand", edited_from="new", edited_at="noon")
    with caplog.at_level(logging.WARNING):
        assert choose_labels(labels, reviewed, None) is labels
        assert "are gone" in caplog.text
        caplog.clear()
        assert choose_labels(labels, None, make_edits(original_fingerprint="old")) is labels
        assert "earlier segmentation" in caplog.text
    with pytest.raises(StoreError, match=r"saved at one.*tomo_review"):
        choose_labels(labels, reviewed, make_edits(saved_at="one"))
    with pytest.raises(StoreError, match=r"none.*tomo_review"):
        choose_labels(labels, None, make_edits())


def test_labels_of_another_tomogram_are_not_measured():
    labels = make_volume("labels", made_from="older")
    with pytest.raises(StoreError, match=r"another tomogram \(older\).*run tomo_segment"):
        plan_measurement(labels, make_volume("newer"), PARAMS, COMPUTE)


def make_table():
    return pd.DataFrame({"sample": ["a", "b"], "fingerprint": ["1", "2"], "rejected_reason": None})


def test_tables_of_another_tomogram_are_rejected():
    stale, current = pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [2]})
    stale.attrs["made_from"], current.attrs["made_from"] = {"tomogram": "0"}, {"tomogram": "2"}
    found, rejections = select_current({"a": stale, "b": current}, make_table())
    assert list(found) == ["b"]
    assert "another tomogram (0)" in rejections["a"]
    with pytest.raises(StoreError, match="sample a"):
        select_current({"a": stale}, make_table())


def test_a_measurement_is_new_when_input_or_settings_are():
    def take(labels="a", volume="b", params=PARAMS, compute=COMPUTE):
        return plan_measurement(
            make_volume(labels, made_from=volume), make_volume(volume), params, compute
        ).fingerprint

    known = take()
    assert take() == known
    changed = [
        take(labels="c"),
        take(volume="c"),
        take(params=PARAMS.model_copy(update={"closing_um": 0.41})),
        take(params=PARAMS.model_copy(update={"preset": "paper"})),
        take(params=PARAMS.model_copy(update={"uncertainty": True})),
    ]
    assert len({known, *changed}) == len(changed) + 1
    assert take(compute=TomoComputeParams(workers=4, block_edge_vx=64)) == known


def test_the_method_is_part_of_the_fingerprint(monkeypatch):
    first = plan_measurement(make_volume("a"), make_volume("b"), PARAMS, COMPUTE).fingerprint
    monkeypatch.setattr("ncm_kedro.particles.measure.METHOD_VERSION", 10**6)
    again = plan_measurement(make_volume("a"), make_volume("b"), PARAMS, COMPUTE).fingerprint
    assert again != first


@pytest.mark.parametrize("uncertainty", [False, True])
def test_a_plan_measures_where_it_is_told_to(tmp_path, uncertainty):
    params = PARAMS.model_copy(update={"uncertainty": uncertainty})
    plan = plan_measurement(make_volume("a"), make_volume("b"), params, COMPUTE)
    assert plan.name == "one"
    assert not any(tmp_path.iterdir())
    found = plan.compute(tmp_path)
    assert found.particles["particle_id"].tolist() == [3]
    assert found.variants.empty != uncertainty
    assert any(tmp_path.rglob("*.npz"))
