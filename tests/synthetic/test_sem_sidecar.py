"""Sidecars, byte by byte."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from ncm_kedro.synthetic.sem.acquisition import corrupt_sidecar, write_korean_date, write_sidecar
from ncm_kedro.synthetic.sem.plan import draw_recordings

MOMENT = datetime(2019, 12, 3, 20, 14, 33, 569924)


@pytest.fixture
def sidecar() -> bytes:
    recording = draw_recordings(["s"], np.random.default_rng(0))[0]
    return write_sidecar(
        "D:\\x\\a.jpg",
        MOMENT,
        recording,
        width_px=1280,
        pixel_size_um=100 / 371,
        filament_ua=5345.5,
    )


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2019, 9, 2, 0, 9, 36), "2019-09-02 오전 12:09:36"),
        (datetime(2022, 6, 16, 12, 51, 11), "2022-06-16 오후 12:51:11"),
        (datetime(2019, 12, 3, 20, 14, 33), "2019-12-03 오후 8:14:33"),
        (datetime(2019, 9, 2, 9, 8, 10), "2019-09-02 오전 9:08:10"),
    ],
)
def test_korean_dates(moment: datetime, text: str) -> None:
    assert write_korean_date(moment) == text


def test_bytes_are_utf8_with_crlf_and_no_other_line_ends(sidecar: bytes) -> None:
    assert sidecar.startswith(b"[Image Info]\r\nModel : SNE-4500M Plus\r\n")
    assert sidecar.endswith(b"\r\n")
    assert sidecar.count(b"\n") == sidecar.count(b"\r") == sidecar.count(b"\r\n") == 86
    assert "오후 8:14:33" in sidecar.decode("utf-8")


def test_typos_and_keys_that_repeat_across_sections(sidecar: bytes) -> None:
    text = sidecar.decode()
    for typo in ("Acceleated Voltage", "Discription", "Bipolra", "Scan Rotaion"):
        assert typo in text
    assert text.count("\r\nMagnification : x500 \r\n") == 2
    assert text.count("[   - Stig]") == 2


def test_pixel_size_is_that_of_the_scan_not_of_the_file(sidecar: bytes) -> None:
    assert b"Pixel Size : 0.719\r\n" in sidecar


def test_garbled_sidecar_has_no_sections_and_is_not_utf8(sidecar: bytes) -> None:
    garbled = corrupt_sidecar(sidecar)
    assert b"[" not in garbled
    with pytest.raises(UnicodeDecodeError):
        garbled.decode("utf-8")


@pytest.mark.real
def test_lines_are_those_of_the_vendor(sidecar: bytes, real_frames_folder: Path) -> None:
    sidecars = sorted((real_frames_folder / "333").glob("*.txt"))
    real = next(path for path in sidecars if path.stat().st_size > 9)
    ours, theirs = (
        [line.split(":")[0] for line in content.decode("utf-8").split("\r\n")]
        for content in (sidecar, real.read_bytes())
    )
    assert ours == theirs
