import json
from datetime import datetime

import pytest

from ncm_kedro.sem.io.sidecar import Sidecar, describe_sidecar, read_sidecar
from ncm_kedro.units import parse_moment

TEXT = "\r\n".join(
    [
        "[Image Info]",
        "Model : SNE-4500M Plus",
        "Date : 2019-09-02 오전 12:09:36",
        "Time : 00:09:36.5699240",
        r"File Name : D:\DATA\KJY\190902_SuperP+PVdF_LCO+PCL\frame __1.jpg",
        "Discription : Tabletop SEM",
        "Acceleated Voltage :  20 kV",
        "Magnification : x500 ",
        "Scan Speed : ",
        "[Running Info]",
        "Focus : 1898",
        "Magnification : x600 ",
        "[   - Image Process]",
        "Brightness : 89",
        "Contrast : -61",
        "[   - Focus]",
        "OL1 Val : 1898",
        "OL1 Val : 1899",
        "[Active Scan]",
        "Frame Size : 480,480",
        "Pixel Size : 0.7",
    ]
)


def test_fields_stay_under_their_sections_and_spelling():
    sections = read_sidecar(TEXT.encode()).sections
    assert sections["Image Info"]["Magnification"] == "x500"
    assert sections["Running Info"]["Magnification"] == "x600"
    assert sections["Image Info"]["Discription"] == "Tabletop SEM"
    assert sections["Image Info"]["Scan Speed"] == ""
    assert list(sections) == ["Image Info", "Running Info", "Image Process", "Focus", "Active Scan"]


def test_key_repeated_within_a_section_is_a_list():
    assert read_sidecar(TEXT.encode()).sections["Focus"]["OL1 Val"] == ["1898", "1899"]


def test_typed_fields():
    sidecar = read_sidecar(TEXT.encode())
    assert sidecar.magnification == 500
    assert sidecar.accelerating_voltage_kv == 20
    assert sidecar.instrument == "SNE-4500M Plus"
    assert sidecar.acquired_at == datetime(2019, 9, 2, 0, 9, 36, 569924)
    assert sidecar.path_parts[-2:] == ("190902_SuperP+PVdF_LCO+PCL", "frame __1.jpg")
    assert (sidecar.focus, sidecar.brightness, sidecar.contrast) == (1898, 89, -61)
    assert sidecar.find_pair("Frame Size") == (480, 480)
    assert sidecar.flags == ()


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16", "utf-16-le", "utf-16-be"]
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_encodings_and_line_ends_read_alike(encoding, line_end):
    data = TEXT.replace("\r\n", line_end).encode(encoding)
    assert read_sidecar(data) == read_sidecar(TEXT.encode())


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2019-09-02 오전 12:09:36", 0),
        ("2019-09-02 오전 01:09:36", 1),
        ("2019-09-02 오후 12:09:36", 12),
        ("2019-09-02 오후 11:09:36", 23),
        ("2019-09-02 PM 3:09:36", 15),
        ("2019/09/02 3:09:36 PM", 15),
        ("2019-09-02T15:09:36", 15),
        ("02.09.2019 15:09:36", 15),
        ("2 Sep 2019 3:09:36 PM", 15),
        ("2019年9月2日 午後 3:09:36", 15),
        ("2/9/2019 15:09:36", None),
        ("09/02/2019 15:09:36", None),
        ("25/09/2019 15:09:36", 15),  # a day above twelve tells its place
        ("09/25/2019 15:09:36", 15),
        ("", None), ("yesterday", None), ("2019-13-02 10:00:00", None),
        ("2019-09-02 25:00:00", None),
    ],
)  # fmt: skip
def test_dates_of_several_countries_and_none_that_could_be_two(text, hour):
    day = 25 if "25/" in text else 2
    expected = None if hour is None else datetime(2019, 9, day, hour, 9, 36)
    assert parse_moment(text) == expected


@pytest.mark.parametrize("data", [None, b"", b"\n", b"1", b" \r\n"])
def test_missing_and_stray_files_are_missing(data):
    sidecar = read_sidecar(data)
    assert sidecar.flags == ("sidecar_missing",)
    assert sidecar.magnification is None
    assert sidecar.acquired_at is None


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(128, 256)) * 4,
        b"\xff\xfe\x00",
        b"no fields here\nnor here\n",
        b"\x89PNG\r\n\x1a\n" + b"\x00\xff" * 50,
    ],
)
def test_malformed_files_are_flagged_and_empty(data):
    sidecar = read_sidecar(data)
    assert sidecar.flags == ("sidecar_malformed",)
    assert sidecar.sections == {}


def test_description_holds_json_types_and_every_field():
    described = describe_sidecar(read_sidecar(TEXT.encode()))
    assert json.loads(json.dumps(described)) == described
    assert described["acquired_at"] == "2019-09-02T00:09:36.569924"
    assert json.loads(described["sidecar_json"])["Focus"]["OL1 Val"] == ["1898", "1899"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("배율 : x5,000\n가속 전압 : 15.0 kV\n기기 : SNE-4500M\n", "cp949"),
        ("倍率 : x5,000\n加速電圧 : 15.0 kV\n装置名 : SNE-4500M\n", "cp932"),
        ("Vergrößerung : 5,00 K X\nGerät : SNE-4500M\nEHT : 15,0 kV\n", "cp1252"),
        ("Mag : 5.00 K X\nHV : 15000\nDevice : SNE-4500M\nAperture : 30 µm\n", "cp1252"),
    ],
)  # fmt: skip
def test_other_languages_and_their_encodings(text, encoding):
    for data in (text.encode(encoding), text.encode(), text.encode("utf-16")):
        sidecar = read_sidecar(data)
        assert sidecar.magnification == 5000
        assert sidecar.accelerating_voltage_kv == 15
        assert sidecar.instrument == "SNE-4500M"


@pytest.mark.parametrize(
    ("text", "magnification", "voltage_kv"),
    [
        ("Mag (x) : 5000\nHV (kV) : 5", 5000, 5),
        ("Mag : 5000倍\nAcc. Voltage [V] : 500", 5000, 0.5),
        ("放大倍率 : 5000:1\nAcceleratingVoltage_kV = 1", 5000, 1),
        ("확대 배율 : x5,000\nHV [kV] : 5000 V", 5000, 5),
    ],
)
def test_a_unit_may_stand_in_the_key(text, magnification, voltage_kv):
    sidecar = read_sidecar(text.encode())
    assert sidecar.magnification == magnification
    assert sidecar.accelerating_voltage_kv == voltage_kv


def test_the_image_file_answers_where_the_sidecar_is_silent():
    sidecar = Sidecar({"a": {"Magnification": "x500"}})
    embedded = Sidecar({"b": {"Magnification": "x600", "HV": "5 kV", "Device": "MIRA3"}})
    described = describe_sidecar(sidecar, embedded)
    assert (described["magnification"], described["accelerating_voltage_kv"]) == (500, 5)
    assert described["instrument"] == "MIRA3"
    assert set(json.loads(described["sidecar_json"])) == {"a", "b"}


@pytest.mark.real
def test_every_real_sidecar_parses(real_frames_folder):
    files = sorted(real_frames_folder.glob("*/*.jpg.txt"))
    for file in files:
        sidecar = read_sidecar(file.read_bytes())
        assert sidecar.flags == (), file
        assert sidecar.magnification == 500
        assert sidecar.accelerating_voltage_kv == 20
        assert sidecar.acquired_at is not None
        assert len(sidecar.sections) >= 15
    assert len(files) > 600
