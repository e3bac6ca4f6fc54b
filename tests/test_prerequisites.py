"""A run whose inputs were not made yet is refused, with what to run first."""

from pathlib import Path

import pytest
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
from kedro.io import AbstractDataset, DataCatalog

from ncm_kedro.errors import StoreError
from ncm_kedro.prerequisites import PrerequisiteHook, list_producers

PROJECT = Path(__file__).parents[1]
PARQUET = "pandas.ParquetDataset"


@pytest.fixture(autouse=True, scope="module")
def registered():
    bootstrap_project(PROJECT)


def make_catalog(folder, kinds):
    datasets = {
        name: AbstractDataset.from_config(name, {"type": kind, "filepath": str(folder / name)})
        for name, kind in kinds.items()
    }
    return DataCatalog(datasets)


def check(names, catalog):
    asked = pipelines[names[0]]
    PrerequisiteHook().before_pipeline_run({"pipeline_names": names}, asked, catalog)


def test_what_is_missing_and_what_makes_it_is_named_in_the_order_of_the_road(tmp_path):
    names = ("sem_manifest", "sem_crops", "sem_crop_report")
    with pytest.raises(StoreError) as caught:
        check(["tune_train"], make_catalog(tmp_path, dict.fromkeys(names, PARQUET)))
    assert caught.value.where == "tune_train"
    assert "sem_crop_report, sem_crops, sem_manifest" in caught.value.found
    assert "`kedro run --pipelines sem_ingest,crop_augment` first" in caught.value.action


def test_what_is_there_is_not_asked_for(tmp_path):
    catalog = make_catalog(tmp_path, {"sem_manifest": PARQUET})
    with pytest.raises(StoreError, match="sem_ingest"):
        check(["crop_augment"], catalog)
    (tmp_path / "sem_manifest").write_bytes(b"")
    check(["crop_augment"], catalog)


def test_raw_data_and_what_may_be_missing_are_not_asked_for(tmp_path):
    folder = {"raw_sem_frames": "ncm_kedro.datasets.frames.raw.RawFrameFolder"}
    check(["sem_ingest"], make_catalog(tmp_path, folder))
    report = {"type": "json.JSONDataset", "filepath": str(tmp_path / "none.json")}
    optional = AbstractDataset.from_config(
        "x", {"type": "ncm_kedro.datasets.wrappers.OptionalDataset", "dataset": report}
    )
    check(["sem_report"], DataCatalog({"sem_transfer_report": optional}))
    plain = AbstractDataset.from_config("x", report)
    with pytest.raises(StoreError, match="sem_transfer"):
        check(["sem_report"], DataCatalog({"sem_transfer_report": plain}))


def test_makers_are_single_pipelines():
    producers = list_producers()
    assert producers["sem_crops"] == "crop_augment"
    assert producers["particle_attributes"] == "particle_features"
    assert producers["additive_report"] == "evaluate_additives"
    assert "raw_sem_frames" not in producers
