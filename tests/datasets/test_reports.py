"""What kedro-viz shows of a report page, of reports by name and of metrics."""

import json

import mlflow
import pandas as pd

from ncm_kedro.datasets.reports import (
    DatedTableDataset,
    MetricsDataset,
    PageDataset,
    ReportPartitions,
)


def test_a_page_is_previewed_by_its_first_screen(tmp_path):
    page = PageDataset(filepath=str(tmp_path / "page.html"))
    picture = '<img width="840" height="520"\nsrc="data:">'
    page.save(f"<header>\n<h1>Cells</h1>\n{picture}</header><p>More.</p>")
    assert page.preview() == '<h1>Cells</h1> <img width="100%" src="data:">'


def test_a_missing_date_is_previewed_as_null(tmp_path):
    table = DatedTableDataset(filepath=str(tmp_path / "table.parquet"))
    table.save(pd.DataFrame({"at": pd.to_datetime(["2024-05-04 12:00:01", None])}))
    assert table.preview()["data"] == [["2024-05-04T12:00:01"], [None]]


def test_reports_are_previewed_by_name(tmp_path):
    reports = ReportPartitions(
        path=str(tmp_path), dataset="json.JSONDataset", filename_suffix=".json"
    )
    reports.save({"one": {"n": 1}, "two": {"n": 2}})
    assert json.loads(reports.preview()) == {"one": {"n": 1}, "two": {"n": 2}}


def test_the_last_value_of_a_metric_lies_in_a_file_and_all_in_the_run(track, tmp_path):
    metrics = MetricsDataset(filepath=str(tmp_path / "new" / "test.json"), prefix="test")
    with track(tmp_path / "mlruns"), mlflow.start_run() as run:
        loss = [{"value": 2.0, "step": 0}, {"value": 1.0, "step": 1}]
        metrics.save({"loss": loss, "accuracy": {"value": 2 / 3, "step": 0}})
        history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "test.loss")
    assert [value.value for value in history] == [2.0, 1.0]
    assert metrics.preview()["data"] == [["loss", 1.0], ["accuracy", 0.6667]]
