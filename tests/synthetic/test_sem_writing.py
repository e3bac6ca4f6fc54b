"""Writing a synthetic data set, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ncm_kedro.errors import StoreError
from ncm_kedro.params.synthesise import SynthesiseSemParams
from ncm_kedro.synthetic.sem.frames import SyntheticFrame, iter_sem_frames, write_sem_frames


@pytest.fixture(scope="module")
def frames() -> list[SyntheticFrame]:
    params = SynthesiseSemParams(
        compositions=("333", "811"),
        states=("pristine",),
        frames_per_class=3,
        series_per_class=2,
        width_px=320,
        height_px=256,
        lco_frames=1,
    )
    return list(iter_sem_frames(params))


def list_files(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def test_folder_holds_frames_sidecars_and_strays(
    frames: list[SyntheticFrame], tmp_path: Path
) -> None:
    truth = write_sem_frames(frames, tmp_path / "sem")
    expected = {f.file for f in frames} | {".ncm_synthetic"}
    expected |= {f"{f.file}.txt" for f in frames if f.sidecar_bytes is not None}
    expected |= {name for f in frames for name in f.stray_files}
    assert list_files(tmp_path / "sem") == expected
    assert list(truth["file"]) == [f.file for f in frames]
    assert [p.name for p in tmp_path.iterdir()] == ["sem"]


def test_frames_are_grey_jpegs_close_to_the_original(
    frames: list[SyntheticFrame], tmp_path: Path
) -> None:
    write_sem_frames(frames[:2], tmp_path / "sem")
    with Image.open(tmp_path / "sem" / frames[0].file) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "L", (320, 256))
        read = np.asarray(image, dtype=float)
    assert np.abs(read - frames[0].image_yx).mean() < 6


def test_truth_is_typed(frames: list[SyntheticFrame], tmp_path: Path) -> None:
    truth = write_sem_frames(frames, tmp_path / "sem")
    assert pd.api.types.is_datetime64_any_dtype(truth["acquired_at"])
    assert pd.api.types.is_integer_dtype(truth["x_px"])
    assert truth["acquired_at"].is_unique
    assert truth.notna().all().all()


def test_a_failed_run_leaves_what_was_there(frames: list[SyntheticFrame], tmp_path: Path) -> None:
    folder = tmp_path / "sem"
    write_sem_frames(frames, folder)
    before = list_files(folder)

    def break_off() -> Iterator[SyntheticFrame]:
        yield frames[0]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_sem_frames(break_off(), folder)
    assert list_files(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == ["sem"]


def test_synthetic_frames_are_replaced(frames: list[SyntheticFrame], tmp_path: Path) -> None:
    write_sem_frames(frames, tmp_path / "sem")
    write_sem_frames(frames[:1], tmp_path / "sem")
    assert len([f for f in list_files(tmp_path / "sem") if f.endswith(".jpg")]) == 1


def test_a_users_own_data_is_never_replaced(frames: list[SyntheticFrame], tmp_path: Path) -> None:
    own = tmp_path / "sem" / "333" / "mine.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"precious")
    with pytest.raises(StoreError, match="data that this pipeline did not write"):
        write_sem_frames(frames, tmp_path / "sem")
    assert own.read_bytes() == b"precious"


def test_unwritable_place_is_explained(frames: list[SyntheticFrame], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="choose another folder"):
        write_sem_frames(frames, tmp_path / "file" / "sem")


def test_no_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no frames"):
        write_sem_frames([], tmp_path / "sem")
    assert not (tmp_path / "sem").exists()
