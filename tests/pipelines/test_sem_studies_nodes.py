"""The nodes of `sem_studies`, with the runs that they leave in MLflow."""

import json

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from ncm_kedro.contracts.sem import validate_studies
from ncm_kedro.errors import SettingsError
from ncm_kedro.params.sem_studies import STUDIES, SemStudiesParams
from ncm_kedro.pipelines.sem_studies.nodes import gather_sem_studies, make_study
from study_cases import CROPS, TINY, make_frames

PARAMS = SemStudiesParams(
    models=("network",), normalisations=("none", "per_image"), train=TINY, n_bootstrap=100
)


@pytest.fixture
def client(track, tmp_path):
    with track(tmp_path):
        yield MlflowClient()


def run(folder, study):
    frames, manifest = make_frames()
    inputs = {"frames": frames, "manifest": manifest, "folder": folder}
    tables, reports, figures = {}, {}, {}
    for name in STUDIES:
        found = make_study(name)(**inputs, study=study, crops=CROPS, params=PARAMS)
        for known, more in zip((tables, reports, figures), found, strict=True):
            known.update(more)
    parts = {name: {name: report} for name, report in reports.items()}
    assert gather_sem_studies(**parts, weights={}) == reports
    return tables, reports, figures


def find(client, text):
    experiment = client.get_experiment_by_name("test").experiment_id
    return client.search_runs([experiment], filter_string=text)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_study_is_a_run_and_its_points_are_runs_below_it(client, tmp_path):
    with mlflow.start_run() as run_of_pipeline:
        tables, reports, figures = run(tmp_path / "work", "normalisation+grey_levels+microscope")
    assert set(tables) == set(reports) == set(figures)
    validate_studies(tables)
    json.dumps(reports, allow_nan=False)

    (study,) = find(client, "tags.study = 'normalisation' and tags.purpose = 'study'")
    assert study.data.tags["mlflow.parentRunId"] == run_of_pipeline.info.run_id
    artifacts = {item.path for item in client.list_artifacts(study.info.run_id)}
    assert artifacts == {"normalisation.json", "normalisation.png", "normalisation.csv"}
    assert study.data.metrics["points_run"] == 3.0

    points = find(client, "tags.study = 'normalisation' and tags.purpose = 'study point'")
    assert {p.data.tags["mlflow.parentRunId"] for p in points} == {study.info.run_id}
    named = {point.data.params["point"]: point.data for point in points}
    assert set(named) == {"none", "none, tested per image", "per image"}
    row = reports["normalisation"]["rows"][0]
    assert named["none"].metrics["balanced_accuracy"] == row["balanced_accuracy"]
    assert {"seconds_per_epoch", "composition_accuracy"} <= set(named["none"].metrics)
    assert not {"low", "high"} & set(named["none"].metrics)  # too few mosaics for an interval
    run_id = next(p.info.run_id for p in points if p.data.params["point"] == "none")
    (epoch,) = client.get_metric_history(run_id, "epoch.validation_accuracy")
    assert epoch.step == 1

    (gap,) = find(client, "tags.study = 'microscope' and tags.purpose = 'study point'")
    assert "frames.csv" in gap.data.tags["skipped"]


def test_without_an_active_run_nothing_is_logged(client, tmp_path):
    run(tmp_path / "work", "microscope")
    assert find(client, "") == []


def test_an_unknown_study_is_refused_before_frames_are_read(tmp_path):
    with pytest.raises(SettingsError, match="crop_size, image_count"):
        make_study("split")(
            frames={}, manifest=None, folder=tmp_path, study="size", crops=CROPS, params=PARAMS
        )
