import os
import re
import socket
import unicodedata

import pytest
from kedro.io import DatasetError

from ncm_kedro.datasets.frames.raw import RawFrameFolder
from ncm_kedro.sem.io.frames import NEVER_FRAMES


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


def test_strays_are_rejected_with_reasons_and_litter_is_not_seen(tmp_path):
    for file in ("333/a.TIF", "333/notes.docx", "333/lost.jpg.txt", "333/1.txt", "top.jpg",
                 "333/b.dm3", "333/more.zip", "333/frames.csv", ".DS_Store", "333/._a.TIF",
                 "333/Thumbs.db", "333/desktop.ini", "__MACOSX/333/a.jpg"):  # fmt: skip
        touch(tmp_path / file)
    (tmp_path / "622").mkdir()
    raw = load(tmp_path)
    assert [record.file for record in raw.records] == ["333/a.TIF"]
    assert {entry.file for entry in raw.rejections} == {
        "333/1.txt", "333/lost.jpg.txt", "333/notes.docx", "top.jpg", "333/b.dm3", "333/more.zip",
        "333/frames.csv", "622",
    }  # fmt: skip
    kinds = {entry.file: entry.kind for entry in raw.rejections}
    assert {f for f, kind in kinds.items() if kind in NEVER_FRAMES} == {
        "333/1.txt", "333/lost.jpg.txt", "333/notes.docx", "622",
    }  # fmt: skip


def test_linked_folders_are_followed_once(tmp_path):
    root, elsewhere = tmp_path / "sem", tmp_path / "elsewhere"
    for path in (root / "333/a.jpg", elsewhere / "b.jpg", elsewhere / "sub/c.jpg"):
        touch(path)
    (root / "811").symlink_to(elsewhere)
    (root / "811_cycled").symlink_to(elsewhere)
    (root / "333/again").symlink_to(root / "333")
    (root / "up").symlink_to(tmp_path)
    (elsewhere / "loop").symlink_to(elsewhere)
    (root / "333/link.jpg").symlink_to(elsewhere / "b.jpg")
    (root / "333/broken.jpg").symlink_to(elsewhere / "gone.jpg")
    (root / "333/itself.jpg").symlink_to(root / "333/itself.jpg")
    raw = load(root)
    assert [record.file for record in raw.records] == [
        "333/a.jpg", "333/link.jpg", "811/b.jpg", "811/sub/c.jpg",
    ]  # fmt: skip
    assert {entry.file for entry in raw.rejections} == {
        "333/again", "up", "811_cycled", "811/loop", "333/broken.jpg", "333/itself.jpg",
    }  # fmt: skip


def test_odd_names_are_written_so_that_anything_can_hold_them(tmp_path):
    folder = os.fsencode(tmp_path / "811")
    os.mkdir(folder)
    for name in (
        b"bad\xff.png",
        b"bad\\xff.png",
        b"line\nfeed.png",
        b"n" * 251 + b".png",
        b"good.png",
    ):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(name)
    raw = load(tmp_path)
    names = [record.file for record in raw.records]
    assert len(set(names)) == 5
    assert all(name.isprintable() and name.encode() for name in names)
    assert "811/line\\x0afeed.png" in names
    assert [record.file for record in load(tmp_path).records] == names
    assert {record.read_image() for record in raw.records} == {
        entry.name for entry in os.scandir(folder)
    }
    assert all(record.fingerprint("p") for record in raw.records)


def test_what_is_no_file_is_not_opened(tmp_path, monkeypatch):
    touch(tmp_path / "811/good.png")
    os.mkfifo(tmp_path / "811/pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # an address is short
        server.bind("811/socket.png")
    raw = load(tmp_path)
    assert [record.file for record in raw.records] == ["811/good.png"]
    assert {entry.file for entry in raw.rejections} == {"811/pipe.png", "811/socket.png"}


def test_a_folder_that_cannot_be_read_costs_only_itself(tmp_path, monkeypatch):
    touch(tmp_path / "811/good.png")
    touch(tmp_path / "622/hidden.png")
    scan = os.scandir

    def refuse(folder):
        if os.path.basename(folder) == "622":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    raw = load(tmp_path)
    assert [record.file for record in raw.records] == ["811/good.png"]
    assert [(r.file, "Permission denied" in r.reason) for r in raw.rejections] == [("622", True)]


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
    assert len({entry.kind for entry in raw.rejections}) == 2


def read_table(root, table, files=("811/a.png",), name="frames.csv"):
    for file in files:
        touch(root / file)
    touch(root / name, table if isinstance(table, bytes) else table.encode())
    return load(root)


@pytest.mark.parametrize(
    "table",
    [
        "file;class;pixel_size_um\r\n811/a.png;811;0,05\r\n",
        "file\tclass\tpixel_size_um\n811/a.png\t811\t0.05\n\n",
        'File,Class,"Pixel Size (nm)"\n811/a.png,811,"50,0"\n,,\n',
        "Filename , Label, pixel size [\N{MICRO SIGN}m/px]\n./811/a.png,811,.05\n".replace(
            ",.", ",0."
        ),
        "sep=;\nfile;class;Pixel size\n811\\a.png;811;50 nm\n",
        "file,class,pixel_size_nm\n811/A.PNG,811,50\n",
        "file,class,pixel_size_um\n811/a.png,811,5E-8 m\n811/a.png,811,0.05\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp949", "cp1252"])
def test_tables_are_read_as_spreadsheets_write_them(tmp_path, table, encoding):
    if encoding == "cp949" and "\N{MICRO SIGN}" in table:
        table = table.replace("\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}")
    raw = read_table(tmp_path, table.encode(encoding))
    assert [record.file for record in raw.records] == ["811/a.png"]
    assert float(raw.records[0].settings["pixel_size_um"]) == pytest.approx(0.05)
    assert raw.rejections == ()


def test_names_in_korean_and_with_accents_are_found(tmp_path):
    file = "811/\uc591\uadf9.png"
    raw = read_table(tmp_path / "a", f"file,class\n{file},811\n".encode("cp949"), [file])
    assert [record.file for record in raw.records] == [file]
    file = "811/\u00e9.png"
    raw = read_table(tmp_path / "b", f"file,class\n{file},811\n".encode("cp1252"), [file])
    assert [record.file for record in raw.records] == [file]
    decomposed = unicodedata.normalize("NFD", file)
    raw = read_table(tmp_path / "c", f"file,class\n{file},811\n", [decomposed])
    assert [record.file for record in raw.records] == [decomposed]


@pytest.mark.parametrize(
    ("head", "cell", "value"),
    [
        ("magnification", "x5,000", 5000),
        ("Mag", "5.00 K X", 5000),
        ("magnification", "5k", 5000),
        ("Magnification (x)", "50000", 50000),
        ("accelerating_voltage_kv", "500 V", 0.5),
        ("HV (V)", "20000", 20),
        ("Accelerating Voltage [kV]", "2,5", 2.5),
        ("EHT", "5 kV", 5),
    ],
)
def test_units_and_separators_of_numbers(tmp_path, head, cell, value):
    raw = read_table(tmp_path, f'file,class,{head}\n811/a.png,811,"{cell}"\n')
    (found,) = raw.records[0].settings.values()
    assert float(found) == value


@pytest.mark.parametrize(
    ("head", "cells"),
    [
        ("pixel_size_um", "5000"),
        ("pixel_size_um", "-0.05"),
        ("pixel_size_um", "nan"),
        ("pixel_size_um", "0.05 inch"),
        ("pixel size", "0.05"),  # of what?
        ("accelerating_voltage_kv", "20000"),
        ("magnification", "50.000"),  # 50 or 50 thousand?
        ("magnification", "1"),
        ("acquired_at", "yesterday"),
        ("condition", "a,b,c"),
    ],
)
def test_a_cell_that_cannot_be_used_costs_its_row(tmp_path, head, cells):
    table = f"file,class,{head}\n811/a.png,811,{cells}\n811/b.png,811,\n"
    raw = read_table(tmp_path, table, ("811/a.png", "811/b.png"))
    assert [record.file for record in raw.records] == ["811/b.png"]
    assert [entry.file for entry in raw.rejections] == ["811/a.png"]
    assert "line 2" in raw.rejections[0].reason


def test_a_point_that_may_part_thousands_costs_its_row_where_commas_are_decimal(tmp_path):
    table = "file;class;pixel_size_nm\n811/a.png;811;1.234\n811/b.png;811;50.25\n"
    raw = read_table(tmp_path, table, ("811/a.png", "811/b.png"))
    assert [record.settings["pixel_size_um"] for record in raw.records] == ["0.05025"]
    assert [entry.file for entry in raw.rejections] == ["811/a.png"]


def test_rows_and_files_without_a_partner_are_counted(tmp_path):
    files = ("811/a.png", "811/b.png", "811/c.png", "811/d.png", "811/notes.docx")
    table = (
        "file,class\n811/a.png,811\n811/b.png,811\n811/b.png,622\nc.png,811\n811/gone.png,811\n"
        ",811\n"
    )
    raw = read_table(tmp_path, table, files)
    assert [record.file for record in raw.records] == ["811/a.png"]
    reasons = {entry.file: entry.reason for entry in raw.rejections}
    assert set(reasons) == {
        "811/b.png", "811/c.png", "811/d.png", "c.png", "811/gone.png", "line 7",
    }  # fmt: skip
    assert "lines 3, 4" in reasons["811/b.png"]
    assert "811/c.png" in reasons["c.png"]


def test_a_table_without_a_row_that_can_be_used_says_why(tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.png.*not there.*correct the rows of frames"):
        read_table(tmp_path, "file,class\n811/gone.png,811\n", ())


def test_columns_that_mean_nothing_here_are_named(tmp_path, caplog):
    read_table(tmp_path, "file,class,pixelgroesse\n811/a.png,811,50\n")
    assert "pixelgroesse" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("frames.csv", b"file,composition\na.jpg,333\n", "no column class"),
        ("frames.csv", b"", "nothing in it"),
        ("frames.csv", b"file,class,Mag,magnification\n811/a.png,811,1,1\n", "several columns"),
        ("frames.csv", b"PK\x03\x04 a workbook", "workbook"),
        ("frames.xlsx", b"PK\x03\x04 a workbook", "another format"),
        ("Frames.csv.txt", b"file,class\n", "another"),
    ],
)
def test_bad_frame_tables_are_located(tmp_path, name, content, message):
    with pytest.raises(DatasetError, match=rf"{re.escape(name)}.*{message}.*What to do"):
        read_table(tmp_path, content, name=name)


def test_a_table_is_found_whatever_the_case_of_its_name(tmp_path):
    raw = read_table(tmp_path, "file,class\n811/a.png,622\n", name="Frames.CSV")
    assert raw.records[0].class_name == "622"
    touch(tmp_path / "frames.csv", b"file,class\n")
    with pytest.raises(DatasetError, match="several frame tables"):
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
    with pytest.raises(DatasetError, match=r"no image that can be used \(1 other files.*readme"):
        load(tmp_path)


def test_exists_and_describes(tmp_path):
    dataset = RawFrameFolder(filepath=str(tmp_path), metadata={"layer": "raw"})
    assert not dataset.exists()
    touch(tmp_path / "333/a.jpg")
    assert dataset.exists()
    assert str(tmp_path) in str(dataset)
    assert dataset.metadata == {"layer": "raw"}
