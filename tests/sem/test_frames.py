from pathlib import Path

import numpy as np
import pytest

from ncm_kedro.errors import FrameError, NcmError
from ncm_kedro.params.sem_ingest import LabelParams
from ncm_kedro.sem.io.frames import (
    FrameRecord,
    RawFrames,
    assign_frame_ids,
    label_frames,
)


def make_raw(*files):
    return RawFrames(
        Path("sem"), tuple(FrameRecord(file, file.split("/")[0], Path(file)) for file in files)
    )


def test_frame_id_collapses_odd_characters():
    file = "333/ETRI_ 20 kV_SE_HighVac_x500 __1157.jpg"
    assert assign_frame_ids({file: "333"})[file] == "333/ETRI_20_kV_SE_HighVac_x500_1157"


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


def test_unknown_class_folder_is_set_aside_with_its_reason():
    frames, aside = label_frames(make_raw("333/a.jpg", "junk/b.jpg"), LabelParams())
    assert [frame.frame_id for frame in frames] == ["333/a"]
    assert [entry.file for entry in aside] == ["junk/b.jpg"]
    assert "class 'junk'" in aside[0].reason


def test_one_class_only_is_fine():
    frames, aside = label_frames(make_raw("811/a.jpg", "811/b.jpg"), LabelParams())
    assert {frame.label.name for frame in frames} == {"811"}
    assert aside == ()


def test_nothing_of_a_known_class_says_what_to_put_where():
    with pytest.raises(NcmError, match=r"put frames into, for instance, sem/333_cycled/"):
        label_frames(make_raw("junk/a.jpg"), LabelParams())


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
