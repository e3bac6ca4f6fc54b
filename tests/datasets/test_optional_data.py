"""What is there is loaded, what is not there is None."""

import pandas as pd
import pytest
from kedro.io import DatasetError

from ncm_kedro.datasets.optional_data import OptionalDataset


def make_dataset(path):
    return OptionalDataset(dataset={"type": "pandas.CSVDataset", "filepath": str(path)})


def test_nothing_is_none(tmp_path):
    dataset = make_dataset(tmp_path / "none.csv")
    assert dataset.load() is None
    assert not dataset.exists()


def test_something_is_loaded(tmp_path):
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "some.csv", index=False)
    dataset = make_dataset(tmp_path / "some.csv")
    assert dataset.exists()
    assert dataset.load()["a"].tolist() == [1]


def test_what_cannot_be_read_is_an_error_not_none(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DatasetError, match="No columns"):
        make_dataset(tmp_path / "empty.csv").load()


def test_it_is_for_reading(tmp_path):
    with pytest.raises(DatasetError):
        make_dataset(tmp_path / "x.csv").save(None)
