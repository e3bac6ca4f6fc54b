import base64
import io
import os
import pickle
import resource
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import zarr
from kedro.io import DatasetError
from PIL import Image

from killing import assert_killed, die_at
from ncm_kedro.datasets.frames.raw import RawFrameFolder
from ncm_kedro.datasets.frames.store import FRAME_COLUMNS, FrameStore, FrameStoreDataset
from ncm_kedro.params.sem_ingest import LabelParams, PixelSizeParams, ReadingParams
from ncm_kedro.sem.io.reading import plan_decoding

READING = ReadingParams(pixel_size=PixelSizeParams(fallback_um=0.3))
SIDECAR = (
    "[Image Info]\r\nModel : M\r\nDate : 2019-09-02 오후 1:02:03\r\nMagnification : x500\r\n"
    "Acceleated Voltage :  20 kV\r\n"
).encode()


def draw_frame(seed, height=96, width=128):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def write_image(path, image_yx, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_yx).save(path, **options)
    return path


@pytest.fixture
def raw_folder(tmp_path):
    root = tmp_path / "sem"
    for index, class_name in enumerate(("333", "333", "811_cycled", "811_cycled")):
        write_image(root / class_name / f"f {index}.png", draw_frame(index))
    (root / "333" / "f 0.png.txt").write_bytes(SIDECAR)
    return root


@pytest.fixture
def dataset(tmp_path):
    return FrameStoreDataset(filepath=str(tmp_path / "out" / "frames.zarr"))


def plan(root, reading=READING):
    return plan_decoding(RawFrameFolder(filepath=str(root)).load(), LabelParams(), reading)


def count_decoded(data):
    """The same plan, and a list that fills with what was decoded."""
    seen = []

    def decode(frame):
        seen.append(frame.frame_id)
        return data.decode(frame)

    return replace(data, decode=decode), seen


def read_all(store):
    return {frame_id: store[frame_id].tobytes() for frame_id in store}


def test_round_trip(raw_folder, dataset):
    assert not dataset.exists()
    dataset.save(plan(raw_folder))
    assert dataset.exists()
    store = dataset.load()
    assert store.frame_ids == ["333/f_0", "333/f_1", "811_cycled/f_2", "811_cycled/f_3"]
    for index, frame_id in enumerate(store.frame_ids):
        np.testing.assert_array_equal(store.read(frame_id), draw_frame(index))
        assert store[frame_id].dtype == np.uint8
        assert store.shapes[frame_id] == (96, 128)
    assert len(store.rejected) == 0


def test_description_has_the_manifests_columns_and_types(raw_folder, dataset):
    dataset.save(plan(raw_folder))
    table = dataset.load().describe()
    assert list(table.columns) == ["frame_id", *FRAME_COLUMNS]
    first = table.iloc[0]
    assert first["file"] == "333/f 0.png"
    assert first["acquired_at"] == datetime(2019, 9, 2, 13, 2, 3)
    assert (first["magnification"], first["accelerating_voltage_kv"]) == (500, 20)
    assert first["flags"] == "banner_missing"
    assert table["flags"].iloc[1] == "banner_missing;sidecar_missing"
    assert table["acquired_at"].isna().tolist() == [False, True, True, True]
    assert str(table["acquired_at"].dtype) == "datetime64[us]"
    assert table["class"].tolist() == ["333", "333", "811_cycled", "811_cycled"]
    assert table["state"].tolist() == ["pristine", "pristine", "cycled", "cycled"]
    assert (table["pixel_size_um"] == 0.3).all()
    assert table["height_px"].dtype == np.int64


def test_every_kind_of_bad_file_is_set_aside_and_the_rest_goes_on(raw_folder, dataset):
    folder = raw_folder / "333"
    good = write_image(folder / "good.jpg", draw_frame(9, 480, 640))
    (folder / "truncated.jpg").write_bytes(good.read_bytes()[:20_000])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not a picture")
    write_image(folder / "tiny.png", draw_frame(1, 10, 10))
    write_image(raw_folder / "unknown" / "a.png", draw_frame(1))
    write_image(folder / "rgba.png", np.dstack([draw_frame(i) for i in range(4)]))
    write_image(folder / "deep.tif", draw_frame(1).astype(np.uint16) * 256)
    dataset.save(plan(raw_folder))
    store = dataset.load()
    assert set(store.rejected["file"]) == {
        "333/truncated.jpg", "333/empty.jpg", "333/text.jpg", "333/tiny.png", "unknown/a.png",
    }  # fmt: skip
    reasons = store.rejected.set_index("file")["reason"]
    assert "truncated or damaged" in reasons["333/truncated.jpg"]
    assert "0 bytes" in reasons["333/empty.jpg"]
    assert "no image" in reasons["333/text.jpg"]
    assert "10 x 10 px" in reasons["333/tiny.png"]
    assert "class 'unknown'" in reasons["unknown/a.png"]
    assert {"333/rgba", "333/deep", "333/good"} < set(store.frame_ids)


def test_whatever_one_file_raises_the_rest_goes_on(raw_folder, dataset):
    data = plan(raw_folder)

    def decode(frame):
        if frame.frame_id == "333/f_0":
            raise RuntimeError("nobody thought of this")
        return data.decode(frame)

    dataset.save(replace(data, decode=decode))
    store = dataset.load()
    assert len(store) == 3
    row = store.rejected.iloc[0]
    assert (row["file"], row["class"], row["folder"]) == ("333/f 0.png", "333", "333")
    assert "nobody thought of this" in row["reason"]


def test_names_that_are_long_or_not_utf8_are_stored(raw_folder, dataset):
    good = (raw_folder / "333" / "f 0.png").read_bytes()
    folder = os.fsencode(raw_folder / "333")
    for name in (b"n" * 251 + b".png", b"bad\xff.png"):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(good)
    dataset.save(plan(raw_folder))
    table = dataset.load().describe()
    assert len(table) == 6
    table.to_parquet(raw_folder.parent / "table.parquet")
    assert table["file"].str.contains(r"bad\\xff").sum() == 1


def test_only_new_and_changed_files_are_decoded(raw_folder, dataset):
    dataset.save(plan(raw_folder))
    write_image(raw_folder / "333" / "f 1.png", draw_frame(50, 100, 128))
    write_image(raw_folder / "333" / "new.png", draw_frame(51))
    (raw_folder / "811_cycled" / "f 3.png").unlink()
    data, seen = count_decoded(plan(raw_folder))
    dataset.save(data)
    store = dataset.load()
    assert sorted(seen) == ["333/f_1", "333/new"]
    assert store.frame_ids == ["333/f_0", "333/f_1", "333/new", "811_cycled/f_2"]
    np.testing.assert_array_equal(store["333/f_1"], draw_frame(50, 100, 128))
    arrays = list((Path(dataset._filepath) / "frames").glob("*/*/zarr.json"))
    assert len(arrays) == 4


def test_changed_parameters_decode_anew(raw_folder, dataset):
    dataset.save(plan(raw_folder))
    data, seen = count_decoded(
        plan(raw_folder, ReadingParams(pixel_size=PixelSizeParams(fallback_um=0.4)))
    )
    dataset.save(data)
    assert len(seen) == 4
    assert (dataset.load().describe()["pixel_size_um"] == 0.4).all()


def test_the_result_does_not_depend_on_workers(raw_folder, tmp_path):
    stores = []
    for workers in (1, 4):
        dataset = FrameStoreDataset(filepath=str(tmp_path / f"{workers}.zarr"), workers=workers)
        dataset.save(plan(raw_folder))
        stores.append(dataset.load())
    assert read_all(stores[0]) == read_all(stores[1])
    assert list(stores[0]) == list(stores[1])
    assert stores[0].describe().equals(stores[1].describe())


def test_a_half_written_frame_is_decoded_again(raw_folder, dataset):
    dataset.save(plan(raw_folder))
    folder = Path(dataset._filepath)
    array = next((folder / "frames" / "333").glob("f_0-*"))
    chunk = next(path for path in array.rglob("*") if path.is_file() and path.name != "zarr.json")
    chunk.unlink()
    group = zarr.open_group(folder, mode="a")
    group[f"frames/333/{array.name}"].attrs.put({})
    data, seen = count_decoded(plan(raw_folder))
    dataset.save(data)
    assert seen == ["333/f_0"]
    np.testing.assert_array_equal(dataset.load()["333/f_0"], draw_frame(0))


def test_nothing_usable_fails_and_keeps_what_was_there(raw_folder, dataset):
    dataset.save(plan(raw_folder))
    before = read_all(dataset.load())
    for path in raw_folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"not one usable frame among 4.*0 bytes"):
        dataset.save(plan(raw_folder))
    assert read_all(dataset.load()) == before


def save_killed(raw_folder, dataset, after):
    """Save in a process that is killed when it has decoded as many frames."""
    data = plan(raw_folder)
    decode = die_at(after + 1, data.decode)
    store = FrameStoreDataset(filepath=str(dataset._filepath), workers=1)
    assert_killed(store.save, replace(data, decode=decode))


def test_killed_run_resumed_is_an_unbroken_run(raw_folder, dataset, tmp_path):
    for index in range(4, 20):
        write_image(raw_folder / "523" / f"{index}.png", draw_frame(index))
    save_killed(raw_folder, dataset, 9)
    assert not dataset.exists()
    data, seen = count_decoded(plan(raw_folder))
    dataset.save(data)
    assert 10 < len(seen) < 20
    unbroken = FrameStoreDataset(filepath=str(tmp_path / "unbroken.zarr"))
    unbroken.save(plan(raw_folder))
    assert read_all(dataset.load()) == read_all(unbroken.load())
    assert dataset.load().describe().equals(unbroken.load().describe())


def test_killed_update_leaves_the_previous_store_readable(raw_folder, dataset):
    dataset.save(plan(raw_folder))
    before = read_all(dataset.load())
    for index in range(4):
        path = next(raw_folder.rglob(f"f {index}.png"))
        write_image(path, draw_frame(100 + index, 100, 100))
    save_killed(raw_folder, dataset, 3)
    assert read_all(dataset.load()) == before


@contextmanager
def limit_file_size(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_may_not_grow_leaves_the_previous_store_readable(raw_folder, dataset):
    dataset.save(plan(raw_folder))
    before = read_all(dataset.load())
    write_image(raw_folder / "333" / "large.png", draw_frame(7, 600, 600))
    with limit_file_size(200_000), pytest.raises(DatasetError, match=r"frames\.zarr.*too large"):
        dataset.save(plan(raw_folder))
    assert read_all(dataset.load()) == before
    dataset.save(plan(raw_folder))
    assert "333/large" in dataset.load()


def test_a_path_below_a_file_cannot_be_written(raw_folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    dataset = FrameStoreDataset(filepath=str(tmp_path / "file" / "frames.zarr"))
    with pytest.raises(DatasetError, match=r"file/frames\.zarr.*name another path"):
        dataset.save(plan(raw_folder))
    assert not dataset.exists()


HOLD_LOCK = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_second_writer_fails_at_once_and_a_dead_one_does_not_block(raw_folder, dataset):
    dataset.save(plan(raw_folder))
    folder = Path(dataset._filepath)
    lock = folder.with_name(f".{folder.name}.lock")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DatasetError, match="another run that is writing this store"):
            dataset.save(plan(raw_folder))
        assert len(dataset.load()) == 4
        holder.kill()
    dataset.save(plan(raw_folder))


def test_foreign_folders_are_refused_and_left_alone(raw_folder, dataset):
    group = zarr.open_group(Path(dataset._filepath), mode="w")
    group.create_array("mine", shape=(2,), dtype="uint8")
    with pytest.raises(DatasetError, match="move that folder away"):
        dataset.save(plan(raw_folder))
    assert "mine" in zarr.open_group(Path(dataset._filepath), mode="r")


def test_missing_and_broken_stores_say_what_to_do(raw_folder, dataset, tmp_path):
    with pytest.raises(DatasetError, match="sem_ingest` first"):
        dataset.load()
    dataset.save(plan(raw_folder))
    (Path(dataset._filepath) / "zarr.json").write_text("{ broken")
    with pytest.raises(DatasetError, match=r"cannot be parsed.*move that folder away"):
        dataset.load()
    Path(dataset._filepath).rename(tmp_path / "away")
    dataset.save(plan(raw_folder))
    assert len(dataset.load()) == 4


def test_store_survives_pickling(raw_folder, dataset):
    dataset.save(plan(raw_folder))
    store = dataset.load()
    again = pickle.loads(pickle.dumps(store))  # noqa: S301
    assert isinstance(again, FrameStore)
    assert read_all(again) == read_all(store)


def test_frames_of_every_class_are_previewed(raw_folder, dataset):
    dataset.save(plan(raw_folder))
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(dataset.preview()))).convert("L"))
    assert sheet.shape[1] == 900
    for index in range(4):
        shown = sheet[:96, 225 * index : 225 * index + 128]
        assert np.corrcoef(shown.ravel(), draw_frame(index).ravel())[0, 1] > 0.9
