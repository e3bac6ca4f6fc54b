"""The pipelines of `cycling` run on synthetic cells, through the catalog of conf/base."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from ncm_kedro.datasets.cycling import SyntheticCyclingFolder
from ncm_kedro.params.cycling import CyclingParams, SyntheticCyclingParams
from ncm_kedro.pipelines.cycling import create_join_pipeline, create_pipeline
from ncm_kedro.synthetic.cycling import make_cells

CONF = Path(__file__).parents[2] / "conf" / "base" / "cycling"


@pytest.fixture
def catalog(tmp_path):
    """The catalog of conf/base with a folder as root, artifacts not logged to MLflow."""
    text = (CONF / "catalog.yml").read_text(encoding="utf-8")
    text = text.replace("${globals:data_root}", str(tmp_path))
    text = text.replace("${globals:cycling_root}", str(tmp_path / "raw"))
    entries = {name: entry.get("dataset", entry) for name, entry in yaml.safe_load(text).items()}
    made = DataCatalog.from_config(entries)
    made["params:cycling"] = MemoryDataset(CyclingParams(curve_cycles=(1, 4)))
    return made


def test_both_pipelines_write_tables_that_keep_their_contracts(catalog, tmp_path):
    raw = SyntheticCyclingFolder(filepath=str(tmp_path / "raw"))
    raw.save(make_cells(SyntheticCyclingParams(cycles=5)))
    classes = ["811_cycled", "811_cycled", "333"]
    catalog["sem_manifest"] = MemoryDataset(pd.DataFrame({"class": classes, "excluded": False}))
    SequentialRunner().run(create_pipeline() + create_join_pipeline(), catalog)
    assert len(catalog.load("cycling_cycles")) == 12 * 5 - 4
    joined = catalog.load("cycling_frames")
    assert joined["status"].value_counts().to_dict() == {
        "matched": 3, "cell without frames": 10, "frames without a cell": 1,
    }  # fmt: skip
    assert (tmp_path / "08_reporting/figures/cycling/capacity.png").stat().st_size > 10_000
    assert "Coulombic" in (tmp_path / "08_reporting/cycling/report.html").read_text()
    assert "not necessarily" in (tmp_path / "08_reporting/cycling/frames.html").read_text()


def test_the_parameters_of_base_are_the_defaults():
    parameters = yaml.safe_load((CONF / "parameters.yml").read_text(encoding="utf-8"))
    assert CyclingParams.model_validate(parameters["cycling"]) == CyclingParams()
