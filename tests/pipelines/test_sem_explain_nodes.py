"""The nodes of `sem_explain`, from predictions to report."""

import json

import pytest
from pandera.errors import SchemaError

from explain_cases import make_tables
from ncm_kedro.contracts.sem import SemAttention, SemExplainedCrops
from ncm_kedro.params.sem_explain import SemExplainParams
from ncm_kedro.pipelines.sem_explain.nodes import (
    check_sem_maps,
    choose_sem_crops,
    explain_sem_crops,
)

PARAMS = SemExplainParams.model_validate(
    {
        "choice": {"random": 2},
        "attention": {"shifts": 19, "n_bootstrap": 100},
        "check": {"crops": 3},
        "device": "cpu",
    }
)


@pytest.fixture(scope="module")
def inputs():
    frames, crops, predictions, classifier = make_tables()
    chosen = choose_sem_crops(predictions, PARAMS)
    shared = {"frames": frames, "crops": crops, "chosen": chosen, "classifier": classifier}
    return {**shared, "params": PARAMS}, predictions


def test_nodes_give_a_table_a_report_and_figures(inputs):
    shared, predictions = inputs
    table, report, metrics, figures = explain_sem_crops(**shared, predictions=predictions)
    assert len(table) == len(SemExplainedCrops.validate(shared["chosen"]))
    SemAttention.validate(table)
    with pytest.raises(SchemaError, match="guided_p"):
        SemAttention.validate(table.assign(guided_p=2.0))
    json.dumps(report, allow_nan=False)
    assert all(set(entry) == {"value", "step"} for entry in metrics.values())
    assert len(figures) == 4


def test_the_check_is_ready_for_json(inputs):
    report, _ = check_sem_maps(**inputs[0])
    json.dumps(report, allow_nan=False)
    assert set(report["maps"]) == {"grad_cam", "guided_grad_cam"}
