"""The drawn banner, and sidecars byte by byte."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from ncm_kedro.synthetic.sem.acquisition import (
    corrupt_sidecar,
    draw_banner,
    place_scale_bar,
    write_sidecar,
)
from ncm_kedro.synthetic.sem.plan import draw_recordings

MOMENT = datetime(2019, 9, 2, 0, 9)
LATER = datetime(2019, 12, 3, 20, 14, 33, 569924)


def measure_end_ticks(banner: np.ndarray, left: int) -> tuple[float, float]:
    """Return the weighted centres of the first and last tick below the bar."""
    row = banner[22].astype(float)
    row[:left] = 0
    inked = np.flatnonzero(row > 0)
    groups = np.split(inked, np.flatnonzero(np.diff(inked) > 1) + 1)
    centres = [float(np.average(g, weights=row[g])) for g in groups]
    return centres[0], centres[-1]


@pytest.mark.parametrize(
    ("width_px", "pixel_size_um", "length_um"),
    [(1280, 100 / 371, 100), (640, 100 / 371, 100), (640, 0.4, 100), (320, 100 / 371, 50)],
)
def test_tick_centres_are_the_printed_length_apart(
    width_px: int, pixel_size_um: float, length_um: int
) -> None:
    bar = place_scale_bar(width_px, pixel_size_um)
    banner = draw_banner(width_px, pixel_size_um, MOMENT)
    first, last = measure_end_ticks(banner, int(bar.first_tick_x_px) - 6)
    assert bar.length_um == length_um
    assert (last - first) * pixel_size_um == pytest.approx(length_um, rel=1e-3)
    assert last < width_px - 4


@pytest.fixture
def sidecar() -> bytes:
    recording = draw_recordings(["s"], np.random.default_rng(0))[0]
    return write_sidecar(
        "D:\\x\\a.jpg",
        LATER,
        recording,
        width_px=1280,
        pixel_size_um=100 / 371,
        filament_ua=5345.5,
    )


def test_bytes_are_utf8_with_crlf_and_no_other_line_ends(sidecar: bytes) -> None:
    assert sidecar.startswith(b"[Image Info]\r\nModel : SNE-4500M Plus\r\n")
    assert sidecar.endswith(b"\r\n")
    assert sidecar.count(b"\n") == sidecar.count(b"\r") == sidecar.count(b"\r\n") == 86
    assert "오후 8:14:33" in sidecar.decode("utf-8")


def test_typos_keys_that_repeat_and_the_scans_pixel_size(sidecar: bytes) -> None:
    text = sidecar.decode()
    for typo in ("Acceleated Voltage", "Discription", "Bipolra", "Scan Rotaion"):
        assert typo in text
    assert text.count("\r\nMagnification : x500 \r\n") == 2
    assert text.count("[   - Stig]") == 2
    assert "\r\nPixel Size : 0.719\r\n" in text  # of the scan, not of the file


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
