"""Records of runs are stored file by file and read back by the name of their data set."""

import pytest
from kedro.io import DatasetError

from ncm_kedro.datasets.wrappers import LineageFolder
from ncm_kedro.provenance import RunRecord


def make_record(name, run_id="1f"):
    return RunRecord(
        dataset=name, node="n", pipeline="p", run_id=run_id, run_name=None, experiment=None,
        git_commit="c", git_changed=True, at="2026-11-21T19:00:00+00:00",
    )  # fmt: skip


def test_nothing_recorded_is_an_empty_mapping(tmp_path):
    dataset = LineageFolder(path=str(tmp_path / "none"))
    assert dataset.load() == {}
    assert not dataset.exists()


def test_records_are_added_and_replaced_and_partitions_kept_apart(tmp_path):
    dataset = LineageFolder(path=str(tmp_path / "lineage"))
    dataset.save({"a": make_record("a"), "s/one": make_record("s/one")})
    dataset.save({"a": make_record("a", "2f"), "s/two": make_record("s/two")})
    loaded = dataset.load()
    assert {name: record.run_id for name, record in loaded.items()} == {
        "a": "2f", "s/one": "1f", "s/two": "1f",
    }  # fmt: skip
    assert loaded["s/two"] == make_record("s/two")
    assert not list(tmp_path.rglob("*.partial"))


def test_a_file_that_is_no_record_is_an_error_that_names_it(tmp_path):
    (tmp_path / "bad.json").write_text('{"dataset": "bad"}')
    with pytest.raises(DatasetError, match=r"bad\.json.*delete the file"):
        LineageFolder(path=str(tmp_path)).load()
