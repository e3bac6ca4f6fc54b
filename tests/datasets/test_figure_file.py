"""A figure comes back as the image that was saved."""

import io

import matplotlib.image
import pytest
from kedro.io import DatasetError
from matplotlib.figure import Figure

from ncm_kedro.datasets.figures import FigureFileDataset


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
