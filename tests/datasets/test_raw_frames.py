import numpy as np
import pytest
from kedro.io import DatasetError
from PIL import Image

from ncm_kedro.datasets.frames.raw import RawFrameFolder


def touch(path, data=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def load(root, **options):
    return RawFrameFolder(filepath=str(root), **options).load()


def test_class_folders_are_listed_sorted_with_sidecars(tmp_path):
    for file in ("811_cycled/b.JPG", "333/a b.tif", "333/c.png"):
        touch(tmp_path / file)
    touch(tmp_path / "811_cycled/b.JPG.txt")
    touch(tmp_path / "333/c.txt")
    raw = load(tmp_path)
    assert [record.file for record in raw.records] == [
        "333/a b.tif", "333/c.png", "811_cycled/b.JPG",
    ]  # fmt: skip
    assert [record.class_name for record in raw.records] == ["333", "333", "811_cycled"]
    assert [record.sidecar_path and record.sidecar_path.name for record in raw.records] == [
        None, "c.txt", "b.JPG.txt",
    ]  # fmt: skip
    assert raw.rejections == ()


def test_strays_are_set_aside_with_reasons_and_hidden_files_are_not_seen(tmp_path):
    for file in ("333/a.jpg", "333/notes.docx", "333/lost.jpg.txt", "333/1.txt", "top.jpg",
                 ".DS_Store", "333/.hidden.jpg"):  # fmt: skip
        touch(tmp_path / file)
    raw = load(tmp_path)
    assert [record.file for record in raw.records] == ["333/a.jpg"]
    assert {entry.file: entry.reason for entry in raw.rejections} == {
        "333/1.txt": "a text file without an image",
        "333/lost.jpg.txt": "a text file without an image",
        "333/notes.docx": "not a JPEG, PNG or TIFF file",
        "top.jpg": "an image that lies in no class folder",
    }


@pytest.mark.parametrize(
    ("image", "sidecar"),
    [
        ("a.tif", "a-tif.hdr"), ("a.png", "a-png.hdr"), ("a.TIF", "a-TIF.hdr"), ("a.tif", "a.hdr"),
        ("a.tif", "a.tif.hdr"), ("a.TIF", "a.TXT"), ("a-b.tif", "a-b-tif.hdr"),
    ],
)  # fmt: skip
def test_sidecars_of_other_instruments_belong_to_their_image(tmp_path, image, sidecar):
    touch(tmp_path / "811" / image)
    touch(tmp_path / "811" / sidecar)
    raw = load(tmp_path)
    assert [record.sidecar_path.name for record in raw.records] == [sidecar]
    assert raw.rejections == ()


def test_a_header_comes_before_a_note(tmp_path):
    for name in ("a.tif", "a-tif.hdr", "a.txt"):
        touch(tmp_path / "811" / name)
    raw = load(tmp_path)
    assert raw.records[0].sidecar_path.name == "a-tif.hdr"
    assert raw.rejections == ()


def test_unlabelled_frames_may_lie_anywhere(tmp_path):
    for file in ("top.jpg", "any/deep/er.png"):
        touch(tmp_path / file)
    raw = load(tmp_path, labelled=False)
    assert [(record.file, record.class_name) for record in raw.records] == [
        ("any/deep/er.png", ""),
        ("top.jpg", ""),
    ]


def test_frame_table_stands_in_for_folders(tmp_path):
    for file in ("pool/a.jpg", "pool/b.jpg", "pool/unlisted.jpg"):
        touch(tmp_path / file)
    touch(
        tmp_path / "frames.csv",
        "\ufefffile,class,pixel_size_um,acquired_at\r\n"
        'pool\\b.jpg,811_cycled,0.27,\r\npool/a.jpg, 333 ,,"2020-01-02 03:04:05"\r\n'
        "pool/gone.jpg,333,,\r\npool/unlisted.jpg,,,\r\n".encode(),
    )
    raw = load(tmp_path)
    assert [(record.file, record.class_name) for record in raw.records] == [
        ("pool/a.jpg", "333"),
        ("pool/b.jpg", "811_cycled"),
    ]
    assert raw.records[0].settings == {"acquired_at": "2020-01-02 03:04:05"}
    assert raw.records[1].settings == {"pixel_size_um": "0.27"}
    assert [entry.file for entry in raw.rejections] == ["pool/gone.jpg", "pool/unlisted.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,composition\na.jpg,333\n", "no column class"),
        (b"", "cannot be read"),
        (b"file,class\na.jpg,333\na.jpg,811\n", "named more than once"),
        ("file,class\né.jpg,333\n".encode("latin-1"), "cannot be read"),
    ],
)
def test_bad_frame_tables_are_located(tmp_path, content, message):
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "frames.csv", content)
    with pytest.raises(DatasetError, match=rf"frames\.csv.*{message}"):
        load(tmp_path)


@pytest.mark.parametrize("prepare", [lambda root: root.rmdir(), lambda root: None])
def test_missing_or_empty_folder_says_what_to_put_where(tmp_path, prepare):
    root = tmp_path / "sem"
    root.mkdir()
    prepare(root)
    with pytest.raises(DatasetError, match=r"put frames into class folders such as sem/811_cycled"):
        load(root)


def test_a_folder_of_strays_counts_them(tmp_path):
    touch(tmp_path / "333/readme.md")
    with pytest.raises(DatasetError, match=r"no image that can be used \(1 other files\)"):
        load(tmp_path)


def test_nothing_is_opened_when_listing(tmp_path):
    touch(tmp_path / "333/a.jpg", b"")
    assert len(load(tmp_path)) == 1


def test_records_read_their_bytes(tmp_path):
    path = tmp_path / "333/a.png"
    path.parent.mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    touch(tmp_path / "333/a.png.txt", b"abc")
    record = load(tmp_path).records[0]
    assert record.read_image() == path.read_bytes()
    assert record.read_sidecar() == b"abc"


def test_saving_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="read only"):
        RawFrameFolder(filepath=str(tmp_path)).save("anything")


def test_exists_and_describes(tmp_path):
    dataset = RawFrameFolder(filepath=str(tmp_path), metadata={"layer": "raw"})
    assert not dataset.exists()
    touch(tmp_path / "333/a.jpg")
    assert dataset.exists()
    assert str(tmp_path) in str(dataset)
    assert dataset.metadata == {"layer": "raw"}
