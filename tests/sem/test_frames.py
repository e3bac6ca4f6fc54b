from pathlib import Path

import numpy as np
import pytest

from ncm_kedro.errors import FrameError, NcmError
from ncm_kedro.params.sem_ingest import LabelParams
from ncm_kedro.sem.io.frames import FrameRecord, RawFrames, RejectedFile, assign_frame_ids
from ncm_kedro.sem.io.labels import label_frames


def make_raw(*files):
    return RawFrames(
        Path("sem"), tuple(FrameRecord(file, file.rpartition("/")[0], Path(file)) for file in files)
    )


def test_frame_ids_stay_apart_when_stems_collide():
    files = ["333/a b.jpg", "333/a_b.png", "333/a__b.jpg", "333/a  b.jpg", "523/a b.jpg"]
    ids = assign_frame_ids({file: file.split("/")[0] for file in files})
    assert len(set(ids.values())) == len(files)
    assert ids["333/a_b.png"] == "333/a_b.png"
    assert ids["523/a b.jpg"] == "523/a_b"


def test_frame_ids_do_not_depend_on_the_order_of_files():
    files = [f"333/{stem}.{suffix}" for stem in ("a b", "a_b", "c") for suffix in ("jpg", "png")]
    expected = assign_frame_ids(dict.fromkeys(files, "333"))
    shuffled = np.random.default_rng(3).permutation(files).tolist()
    assert assign_frame_ids(dict.fromkeys(shuffled, "333")) == expected


def test_long_names_get_short_identities_that_stay_apart_and_stable():
    files = [f"811/{'n' * 239}{end}.png" for end in "ab"]
    ids = assign_frame_ids(dict.fromkeys(files, "811"))
    assert len(set(ids.values())) == 2
    assert max(map(len, ids.values())) < 150
    assert assign_frame_ids({files[0]: "811"})[files[0]] == ids[files[0]]


def test_folders_that_are_not_understood_are_rejected_by_name():
    raw = make_raw("333/a.jpg", "junk/b.jpg", "811/old/c.jpg")
    frames, rejected = label_frames(raw, LabelParams())
    assert [frame.frame_id for frame in frames] == ["333/a"]
    assert {(entry.file, entry.folder) for entry in rejected} == {
        ("junk/b.jpg", "junk"), ("811/old/c.jpg", "811/old"),
    }  # fmt: skip
    assert len({entry.kind for entry in rejected}) == 1


def test_spellings_of_one_class_are_merged_with_a_line_in_the_log(caplog):
    caplog.set_level("INFO", "ncm_kedro")
    raw = make_raw("811/a.jpg", "NCM811/a.jpg", "622/a.jpg", "811__FEC/a.jpg", "811__fec/a.jpg")
    frames, _ = label_frames(raw, LabelParams())
    assert sorted(frame.label.name for frame in frames) == [
        "622", "811", "811", "811__FEC", "811__FEC",
    ]  # fmt: skip
    assert len({frame.frame_id.casefold() for frame in frames}) == 5
    assert "811 (1), NCM811 (1)" in caplog.text
    assert "class 622" not in caplog.text


def test_files_that_are_no_frames_get_the_class_of_their_folder():
    raw = make_raw("811/a.jpg")
    stray = RejectedFile("NCM622/a.dm3", "a format", "a format", "NCM622")
    _, rejected = label_frames(RawFrames(raw.root, raw.records, (stray,)), LabelParams())
    assert rejected[0].class_name == "622"


def test_nothing_of_a_known_class_names_the_folders_and_what_would_do():
    with pytest.raises(NcmError, match=r"junk \(2\), old \(1\).*NCM811"):
        label_frames(make_raw("junk/a.jpg", "old/a.jpg", "junk/b.jpg"), LabelParams())


def test_fingerprint_follows_file_sidecar_and_parameters(tmp_path):
    image, sidecar = tmp_path / "a.jpg", tmp_path / "a.jpg.txt"
    image.write_bytes(b"1")
    sidecar.write_bytes(b"12")
    record = FrameRecord("333/a.jpg", "333", image, sidecar)
    first = record.fingerprint("p")
    assert record.fingerprint("p") == first
    assert record.fingerprint("q") != first
    sidecar.write_bytes(b"123")
    assert record.fingerprint("p") != first


def test_a_file_that_is_gone_is_a_frame_error(tmp_path):
    record = FrameRecord("333/a.jpg", "333", tmp_path / "a.jpg")
    with pytest.raises(FrameError, match=r"333/a.jpg"):
        record.fingerprint("p")
    with pytest.raises(FrameError, match="cannot be read"):
        record.read_image()
