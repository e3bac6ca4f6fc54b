"""Work folders and synthetic frames on disk."""

import pandas as pd
import pytest
from kedro.io import DatasetError

from ncm_kedro.datasets.frames.raw import SyntheticFrameFolder
from ncm_kedro.datasets.wrappers import WorkFolderDataset
from ncm_kedro.params.synthesise import SynthesiseSemParams
from ncm_kedro.synthetic.sem.frames import iter_sem_frames

PARAMS = SynthesiseSemParams(
    compositions=("811",),
    states=("pristine",),
    frames_per_class=2,
    series_per_class=1,
    width_px=320,
    height_px=256,
    special_cases=False,
)


def test_work_folder_appears_when_it_is_needed(tmp_path):
    dataset = WorkFolderDataset(filepath=str(tmp_path / "a" / "b"))
    assert not dataset.exists()
    assert dataset.load().is_dir()
    assert dataset.exists()
    with pytest.raises(DatasetError, match="work folder"):
        dataset.save(1)


def test_synthetic_frames_read_like_raw_data_with_their_truth_beside(tmp_path):
    dataset = SyntheticFrameFolder(filepath=str(tmp_path / "sem"))
    assert not dataset.exists()
    dataset.save(iter_sem_frames(PARAMS))
    raw = dataset.load()
    truth = pd.read_parquet(dataset.truth_path)
    assert [record.file for record in raw.records] == sorted(truth["file"])
    assert {record.class_name for record in raw.records} == {"811"}
