"""A folder of unseen frames: one bad file never ends the run."""

import numpy as np
import pytest

from ncm_kedro.contracts.sem import SemFramePredictions
from ncm_kedro.datasets.frames.raw import RawFrameFolder
from ncm_kedro.errors import FrameError
from ncm_kedro.params.sem_classify import ClassifyParams
from ncm_kedro.params.sem_ingest import ReadingParams
from ncm_kedro.plotting.sem.classify import plot_overlay_sheet
from ncm_kedro.sem.inference.classify import classify_folder, encode_png

READING = ReadingParams.model_validate({"min_size_px": 32, "pixel_size": {"fallback_um": 0.25}})
PARAMS = ClassifyParams(device="cpu", threads=1, sheet_frames=2)


def write_frame(path, height=100, width=130, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image_yx = np.random.default_rng(seed).integers(30, 220, (height, width)).astype(np.uint8)
    path.write_bytes(encode_png(image_yx))


def read_folder(folder):
    return RawFrameFolder(filepath=str(folder), labelled=False).load()


def test_good_frames_are_classified_and_bad_ones_explained(tmp_path, classifier):
    for number in range(3):
        write_frame(tmp_path / "any" / "where" / f"{number}.png", seed=number)
    write_frame(tmp_path / "small.png", height=40)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 truncated")
    table, shown = classify_folder(read_folder(tmp_path), classifier, READING, PARAMS)
    SemFramePredictions.validate(table)
    assert table["file"].tolist() == sorted(table["file"])
    problems = table.set_index("file")["problem"]
    assert "at least one crop" in problems["small.png"]
    assert problems["broken.jpg"]
    assert problems.isna().sum() == 3
    assert len(shown) == 2


def test_the_least_certain_frames_are_shown_first(tmp_path, classifier):
    for number in range(4):
        write_frame(tmp_path / f"{number}.png", seed=number)
    table, shown = classify_folder(read_folder(tmp_path), classifier, READING, PARAMS)
    least = table.sort_values("probability")["file"].tolist()[:2]
    assert [frame.file for frame in shown] == least
    assert len(plot_overlay_sheet(shown, classifier.settings.classes).axes) == 2


def test_nothing_to_work_on_is_an_error(tmp_path, classifier):
    write_frame(tmp_path / "small.png", height=40)
    with pytest.raises(FrameError, match="none of which could be classified"):
        classify_folder(read_folder(tmp_path), classifier, READING, PARAMS)


def test_a_frame_table_is_used_and_what_it_leaves_is_listed(tmp_path, classifier):
    for name in ("a.png", "b.png", "c.png"):
        write_frame(tmp_path / name)
    table = "file;pixel size (nm)\na.png;500\nb.png;fifty\n"
    (tmp_path / "frames.csv").write_text(table, encoding="utf-8")
    table, _ = classify_folder(read_folder(tmp_path), classifier, READING, PARAMS)
    SemFramePredictions.validate(table)
    rows = table.set_index("file")
    assert rows.loc["a.png", "pixel_size_um"] == 0.5
    assert rows["problem"].notna().to_dict() == {"a.png": False, "b.png": True, "c.png": True}
