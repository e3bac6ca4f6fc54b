"""Which labels are taken, and what makes a measurement another one."""

import logging
from pathlib import Path

import numpy as np
import pytest

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.plan import choose_labels, plan_measurement
from ncm_kedro.tomo.volumes.volume import Volume

COMPUTE = TomoComputeParams(workers=1, block_edge_vx=16)
PARAMS = AttributeParams(crack_width=False)


def make_volume(fingerprint, **attributes):
    array = np.zeros((16, 16, 16), np.uint16)
    array[4:12, 4:12, 4:12] = 3
    told = {"fingerprint": fingerprint, **attributes}
    return Volume("one", Path("one.zarr"), array, (array,), (0.1, 0.1, 0.1), {}, told)


def test_reviewed_labels_are_taken_where_they_belong_to_the_segmentation(caplog):
    labels = make_volume("new")
    assert choose_labels(labels, None) is labels
    fitting = make_volume("hand", edited_from="new")
    with caplog.at_level(logging.WARNING):
        assert choose_labels(labels, fitting) is fitting
        assert not caplog.records
        for reviewed in (make_volume("hand", edited_from="old"), make_volume("hand")):
            caplog.clear()
            assert choose_labels(labels, reviewed) is labels
            assert "earlier segmentation" in caplog.text


def test_a_measurement_is_new_when_input_or_settings_are():
    def take(labels="a", volume="b", params=PARAMS, compute=COMPUTE):
        return plan_measurement(
            make_volume(labels), make_volume(volume), params, compute
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
