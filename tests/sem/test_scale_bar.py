from datetime import datetime
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from ncm_kedro.sem.io.glyphs import read_words
from ncm_kedro.sem.io.scale_bar import (
    is_round,
    measure_scale_bar,
    read_label_um,
)
from ncm_kedro.synthetic.sem.acquisition import draw_banner, place_scale_bar


def draw_bar(length_px=300, *, ticks=True, start=200, width=640):
    banner_yx = np.zeros((64, width), np.uint8)
    banner_yx[12:15, start : start + length_px + 1] = 255
    if ticks:
        for centre in (start, start + length_px):
            banner_yx[12:24, centre - 1 : centre + 2] = 255
    return banner_yx


def print_label(banner_yx, text, font="DejaVuSans.ttf", size=20, at=(420, 32)):
    image = Image.fromarray(banner_yx)
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / font
    ImageDraw.Draw(image).text(at, text, fill=255, font=ImageFont.truetype(path, size))
    return np.asarray(image).copy()


@pytest.mark.parametrize("width_px", [480, 640, 1280])
@pytest.mark.parametrize("pixel_size_um", [0.05, 0.1337, 0.2695, 0.8])
def test_drawn_bars_are_measured_to_a_tenth_of_a_pixel(width_px, pixel_size_um):
    banner_yx = draw_banner(width_px, pixel_size_um, datetime(2024, 5, 6))
    truth = place_scale_bar(width_px, pixel_size_um)
    bar = measure_scale_bar(banner_yx)
    assert bar.length_px == pytest.approx(truth.last_tick_x_px - truth.first_tick_x_px, abs=0.1)
    assert read_label_um(banner_yx, bar) == truth.length_um


def test_a_rule_across_the_banner_is_no_bar():
    banner_yx = np.zeros((64, 640), np.uint8)
    banner_yx[10:12] = 255
    assert measure_scale_bar(banner_yx) is None


@pytest.mark.parametrize(
    ("banner_yx", "expected_px"),
    [(draw_bar(300), 300), (draw_bar(300, ticks=False), 301), (255 - draw_bar(300), 300)],
)
def test_length_is_between_tick_centres_or_edges_in_either_polarity(banner_yx, expected_px):
    assert measure_scale_bar(banner_yx).length_px == pytest.approx(expected_px, abs=0.01)


@pytest.mark.parametrize(
    ("text", "expected_um"),
    [("100 um", 100), ("50um", 50), ("20 µm", 20), ("10 um", 10), ("5 um", 5), ("200 nm", 0.2),
     ("500nm", 0.5), ("1 mm", 1000), ("2.5 um", 2.5), ("300 um", 300), ("40 um", 40)],
)  # fmt: skip
@pytest.mark.parametrize("font", ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf"])
@pytest.mark.parametrize("size", [18, 22, 30])
def test_labels_are_read_in_several_fonts_and_sizes(text, expected_um, font, size):
    banner_yx = print_label(draw_bar(), text, font, size, at=(420, 26))
    bar = measure_scale_bar(banner_yx)
    assert read_label_um(banner_yx, bar) == pytest.approx(expected_um)


@pytest.mark.parametrize("font", ["STIXGeneralBol.ttf", "DejaVuSansMono-Bold.ttf", "cmtt10.ttf"])
@pytest.mark.parametrize("text", ["100 um", "20 um", "500 nm", "300 um"])
@pytest.mark.parametrize("size", [11, 14, 24])
def test_strange_or_tiny_print_is_never_misread(font, text, size):
    banner_yx = print_label(draw_bar(), text, font, size, at=(420, 26))
    length_um = read_label_um(banner_yx, measure_scale_bar(banner_yx))
    expected_um = float(text.split()[0]) * (1e-3 if text.endswith("nm") else 1)
    assert length_um is None or length_um == pytest.approx(expected_um)


@pytest.mark.parametrize("face", [cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX])
@pytest.mark.parametrize("text", ["100 um", "50 um", "200 nm"])
def test_stroke_fonts_are_read(face, text):
    banner_yx = draw_bar()
    cv2.putText(banner_yx, text, (420, 50), face, 0.7, 255, 1, cv2.LINE_AA)
    bar = measure_scale_bar(banner_yx)
    assert read_label_um(banner_yx, bar) == pytest.approx(
        0.2 if text.endswith("nm") else float(text.split()[0])
    )


@pytest.mark.parametrize("text", ["", "abc", "137 um", "100", "um", "WD 5"])
def test_labels_that_are_no_length_are_not_read(text):
    banner_yx = print_label(draw_bar(), text)
    assert read_label_um(banner_yx, measure_scale_bar(banner_yx)) is None


def test_words_far_from_the_bar_do_not_count():
    banner_yx = print_label(draw_bar(), "5mm", at=(10, 32))
    assert read_label_um(banner_yx, measure_scale_bar(banner_yx)) is None


def test_blobs_that_are_no_characters_read_as_unknown():
    ink_yx = np.zeros((40, 60), np.uint8)
    cv2.drawMarker(ink_yx, (20, 20), 255, cv2.MARKER_STAR, 24, 1)
    assert "?" in read_words(ink_yx)[0].text


@pytest.mark.parametrize(
    ("value", "expected"),
    [(100, True), (0.2, True), (5, True), (2.5, True), (137, False), (0, False)],
)
def test_round_numbers(value, expected):
    assert is_round(value) is expected
