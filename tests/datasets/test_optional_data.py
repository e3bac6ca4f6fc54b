"""What is there is loaded, what is not there is None."""

import pandas as pd
import pytest
from kedro.io import DatasetError

from ncm_kedro.datasets.wrappers import OptionalDataset


def make_dataset(path):
    return OptionalDataset(dataset={"type": "pandas.CSVDataset", "filepath": str(path)})


def test_nothing_is_none(tmp_path):
    dataset = make_dataset(tmp_path / "none.csv")
    assert dataset.load() is None
    assert not dataset.exists()


def test_what_cannot_be_read_is_an_error_not_none(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DatasetError, match="No columns"):
        make_dataset(tmp_path / "empty.csv").load()


def test_what_is_saved_is_loaded_again(tmp_path):
    dataset = make_dataset(tmp_path / "new.csv")
    dataset.save(pd.DataFrame({"a": [2]}))
    assert dataset.load()["a"].tolist() == [2]


def test_it_is_previewed_where_the_other_data_set_can_be(tmp_path):
    dataset = make_dataset(tmp_path / "seen.csv")
    dataset.save(pd.DataFrame({"a": [3]}))
    assert dataset.preview()["data"] == [[3]]
    pickled = {"type": "pickle.PickleDataset", "filepath": str(tmp_path / "x.pkl")}
    assert not hasattr(OptionalDataset(dataset=pickled), "preview")


def test_partitions_are_none_before_the_first(tmp_path):
    partitions = {
        "type": "partitions.PartitionedDataset",
        "path": str(tmp_path / "studies"),
        "dataset": {"type": "json.JSONDataset"},
        "filename_suffix": ".json",
    }
    dataset = OptionalDataset(dataset=partitions)
    assert dataset.load() is None
    dataset.save({"split": {"answer": 1}})
    assert {name: load() for name, load in dataset.load().items()} == {"split": {"answer": 1}}


def test_what_refuses_to_be_saved_still_does(tmp_path):
    folder = {
        "type": "ncm_kedro.datasets.wrappers.WorkFolderDataset",
        "filepath": str(tmp_path),
    }
    with pytest.raises(DatasetError, match="only load"):
        OptionalDataset(dataset=folder).save(1)
