"""A figure comes back as the image that was saved."""

import base64
import io

import matplotlib.image
import pandas as pd
import pytest
from kedro.io import DatasetError
from matplotlib.figure import Figure

from ncm_kedro.datasets.figures import (
    FigureFileDataset,
    FigureFolderDataset,
    FigurePartitions,
    TablePartitions,
)


def decode(preview):
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(preview)))


def test_a_figure_comes_back_as_its_file(tmp_path):
    path = tmp_path / "deep" / "figure.png"
    dataset = FigureFileDataset(filepath=str(path), save_args={"dpi": 50})
    assert not dataset.exists()
    dataset.save(Figure(figsize=(2, 1)))
    loaded = dataset.load()
    assert loaded == path.read_bytes()
    assert matplotlib.image.imread(io.BytesIO(loaded)).shape[:2] == (50, 100)


def test_a_missing_figure_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.png"):
        FigureFileDataset(filepath=str(tmp_path / "none.png")).load()


def test_a_folder_of_figures_is_previewed_as_one_picture(tmp_path):
    dataset = FigureFolderDataset(filepath=str(tmp_path / "figures"), save_args={"dpi": 50})
    colours = {"a.png": "red", "b.png": "blue"}
    dataset.save({name: Figure(figsize=(24, 2), facecolor=c) for name, c in colours.items()})
    pixels = decode(dataset.preview())
    assert pixels.shape[1] == 900
    assert pixels[20, 450, :3] == pytest.approx([1, 0, 0], abs=0.02)
    assert pixels[120, 450, :3] == pytest.approx([0, 0, 1], abs=0.02)


def test_one_of_several_studies_is_previewed_by_its_name(tmp_path):
    figures = FigurePartitions(
        path=str(tmp_path / "figures"), dataset=FigureFileDataset, filename_suffix=".png"
    )
    drawn = {name: Figure(figsize=(2, 1), facecolor=name) for name in ("red", "blue")}
    figures.save(drawn)
    assert decode(figures.preview("blue"))[20, 20, :3] == pytest.approx([0, 0, 1], abs=0.02)
    tables = TablePartitions(
        path=str(tmp_path / "tables"), dataset="pandas.ParquetDataset", filename_suffix=".parquet"
    )
    tables.save({"one": pd.DataFrame({"x": [1]}), "two": pd.DataFrame({"x": [2, 3, 4]})})
    assert tables.preview("two", nrows=2)["data"] == [[2], [3]]
