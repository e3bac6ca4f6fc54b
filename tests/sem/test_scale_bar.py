"""Scale bars are measured and read, or not read; never misread."""

import io
from datetime import datetime
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from vendors import draw_vendor_bar

from ncm_kedro.sem.io.bar_shapes import find_bars
from ncm_kedro.sem.io.glyphs import read_words
from ncm_kedro.sem.io.scale_bar import read_scale_bar
from ncm_kedro.synthetic.sem.acquisition import draw_banner, place_scale_bar

VENDORS = ("fei", "zeiss", "tescan", "jeol", "hitachi")
BAR_UM = 100.0


@pytest.fixture(scope="module")
def smooth_yx():
    noise_yx = np.random.default_rng(0).normal(0, 1, (400, 1280)).astype(np.float32)
    image_yx = 110 + 260 * cv2.GaussianBlur(noise_yx, (0, 0), 3)
    return np.clip(image_yx, 0, 235).astype(np.uint8)


def read(banner_yx):
    """Pixel size (um) of rows that are all databar."""
    bar = read_scale_bar(banner_yx, [slice(0, len(banner_yx))])
    return bar and bar.length_um / bar.length_px


def read_label(banner_yx):
    bar = read_scale_bar(banner_yx, [slice(0, len(banner_yx))])
    return bar and bar.length_um


def read_frame(vendor, image_yx, pixel_size_um, quality=None, **print_options):
    """Pixel size (um) that is read from a frame in the style of a vendor."""
    rows_yx, _ = draw_vendor_bar(vendor, image_yx[-64:], pixel_size_um, **print_options)
    frame_yx = np.vstack([image_yx, rows_yx])
    if quality is not None:
        buffer = io.BytesIO()
        Image.fromarray(frame_yx).save(buffer, "JPEG", quality=quality)
        frame_yx = np.asarray(Image.open(buffer))
    databars = [] if vendor == "hitachi" else [slice(len(image_yx), len(frame_yx))]
    bar = read_scale_bar(frame_yx, databars)
    return bar and bar.length_um / bar.length_px


def draw_bar(length_px=300, *, ticks=True, start=200, width=640):
    banner_yx = np.zeros((64, width), np.uint8)
    banner_yx[12:15, start : start + length_px + 1] = 255
    if ticks:
        for centre in (start, start + length_px):
            banner_yx[12:24, centre - 1 : centre + 2] = 255
    return banner_yx


def print_text(banner_yx, text, font="DejaVuSans.ttf", size=20, at=(420, 30)):
    image = Image.fromarray(banner_yx)
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / font
    ImageDraw.Draw(image).text(at, text, fill=255, font=ImageFont.truetype(path, size))
    return np.asarray(image).copy()


@pytest.mark.parametrize("width_px", [480, 640, 1280])
@pytest.mark.parametrize("pixel_size_um", [0.05, 0.1337, 0.2695, 0.8])
def test_drawn_bars_are_measured_to_a_tenth_of_a_pixel(width_px, pixel_size_um):
    banner_yx = draw_banner(width_px, pixel_size_um, datetime(2024, 5, 6))
    truth = place_scale_bar(width_px, pixel_size_um)
    bar = read_scale_bar(banner_yx, [slice(0, 64)])
    assert bar.length_px == pytest.approx(truth.last_tick_x_px - truth.first_tick_x_px, abs=0.1)
    assert bar.length_um == truth.length_um


@pytest.mark.parametrize("pixel_size_um", [0.0031, 0.0558, 0.2695, 1.13, 3.9])
@pytest.mark.parametrize("vendor", VENDORS)
def test_bars_of_other_instruments(smooth_yx, vendor, pixel_size_um):
    expected = pytest.approx(pixel_size_um, rel=0.01)
    assert read_frame(vendor, smooth_yx, pixel_size_um) == expected
    assert read_frame(vendor, smooth_yx, pixel_size_um, quality=92) in (None, expected)


@pytest.mark.parametrize("size", [12, 24])
@pytest.mark.parametrize(
    "font", ["DejaVuSansMono.ttf", "STIXGeneralBol.ttf", "cmr10.ttf", "DejaVuSerif-Italic.ttf"]
)
def test_other_fonts_are_read_or_not_but_never_misread(smooth_yx, font, size):
    options = {"font": font, "font_px": size}
    for vendor in VENDORS:
        for pixel_size_um in (0.0079, 0.21):
            found = read_frame(vendor, smooth_yx, pixel_size_um, quality=85, **options)
            assert found is None or found == pytest.approx(pixel_size_um, rel=0.015), vendor


@pytest.mark.parametrize("vendor", ["fei", "zeiss", "tescan", "jeol"])
def test_slanted_print_is_read(smooth_yx, vendor):
    found = read_frame(vendor, smooth_yx, 0.21, font="DejaVuSans-BoldOblique.ttf", font_px=20)
    assert found == pytest.approx(0.21, rel=0.015)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_working_distance_is_no_length_of_a_bar(smooth_yx, vendor):
    # The label itself cannot be read; a length stands elsewhere in the databar.
    assert read_frame(vendor, smooth_yx, 0.0558, label="??") is None


def test_of_two_labels_the_length_of_the_bar_is_taken_or_none():
    banner_yx = print_text(draw_bar(), "5.0mm", at=(320, 30))
    assert read_label(banner_yx) is None
    assert read_label(print_text(banner_yx, "10 um", at=(100, 4))) == 10
    assert read_label(print_text(print_text(draw_bar(), "50 um"), "20 um", at=(220, 30))) is None


def test_words_that_belong_to_another_text_or_lie_far_do_not_count():
    assert read_label(print_text(draw_bar(), "WD 50 um", at=(320, 30))) is None
    assert read_label(print_text(draw_bar(start=330), "5mm", at=(10, 30))) is None


def test_rules_and_sides_of_cells_are_no_bars():
    banner_yx = np.zeros((64, 640), np.uint8)
    banner_yx[10:12] = 255
    assert find_bars(banner_yx) == []
    cell_yx = np.zeros((64, 640), np.uint8)
    cell_yx[30:32, 100:500] = 255
    cell_yx[:, 100:102] = cell_yx[:, 498:500] = 255
    assert find_bars(cell_yx) == []


@pytest.mark.parametrize(
    ("banner_yx", "expected_px"),
    [(draw_bar(300), 300), (draw_bar(300, ticks=False), 300.5), (255 - draw_bar(300), 300)],
)
@pytest.mark.parametrize(("low", "high"), [(0, 255), (96, 255), (53, 200), (0, 120)])
def test_length_is_between_tick_centres_or_edges_on_any_grey(banner_yx, expected_px, low, high):
    labelled = print_text(np.minimum(banner_yx, 255 - banner_yx), "100 um")
    labelled = labelled if banner_yx[0, 0] == 0 else 255 - labelled
    grey_yx = (low + labelled * ((high - low) / 255)).astype(np.uint8)
    expected_um = BAR_UM / expected_px
    if banner_yx[0, 0] == 0:
        grey_yx = np.maximum(grey_yx, (low + banner_yx * ((high - low) / 255)).astype(np.uint8))
    else:
        grey_yx = np.minimum(grey_yx, (low + banner_yx * ((high - low) / 255)).astype(np.uint8))
    assert read(grey_yx) == pytest.approx(expected_um, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "expected_um"),
    [("100 um", 100), ("50um", 50), ("20 µm", 20), ("10 um", 10), ("5 um", 5), ("200 nm", 0.2),
     ("500nm", 0.5), ("1 mm", 1000), ("2.5 um", 2.5), ("0.5 um", 0.5), ("300 um", 300),
     ("40 um", 40), ("5.00um", 5), ("50.0um", 50)],
)  # fmt: skip
@pytest.mark.parametrize("font", ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf"])
@pytest.mark.parametrize("size", [18, 22, 30])
def test_labels_are_read_or_not_in_several_fonts_and_sizes(text, expected_um, font, size):
    found = read_label(print_text(draw_bar(), text, font, size, at=(420, 26)))
    must = font == "DejaVuSans.ttf"
    assert found == pytest.approx(expected_um) or (found is None and not must)


@pytest.mark.parametrize("face", [cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX])
@pytest.mark.parametrize("text", ["100 um", "50 um", "200 nm"])
def test_stroke_fonts_are_read(face, text):
    banner_yx = draw_bar()
    cv2.putText(banner_yx, text, (420, 50), face, 0.7, 255, 1, cv2.LINE_AA)
    expected_um = 0.2 if text.endswith("nm") else float(text.split()[0])
    assert read_label(banner_yx) == pytest.approx(expected_um)


@pytest.mark.parametrize(
    "text", ["", "abc", "137 um", "100", "um", "WD 5", "100 pA", "01 um", "2..5 um", "10 kV"]
)
def test_labels_that_are_no_length_are_not_read(text):
    assert read_label(print_text(draw_bar(), text)) is None


def test_a_dot_that_print_has_lost_makes_no_number_ten_times_as_large():
    banner_yx = print_text(draw_bar(), "2.5 um")
    words = [word for word in read_words(banner_yx) if word.text.startswith("2")]
    assert words[0].text == "2.5um"
    ink_yx = banner_yx[:, 420:]
    dots = [box for box in find_small_blobs(ink_yx) if box[3] <= 4]
    for x, y, width, height in dots:
        ink_yx[y : y + height, x : x + width] = 70  # fainter than what counts as ink
    assert read_label(banner_yx) is None


def find_small_blobs(ink_yx):
    _, _, stats, _ = cv2.connectedComponentsWithStats((ink_yx > 100).astype(np.uint8))
    return [tuple(int(value) for value in row[:4]) for row in stats[1:]]


def test_blobs_that_are_no_characters_read_as_unknown():
    ink_yx = np.zeros((40, 60), np.uint8)
    cv2.drawMarker(ink_yx, (20, 20), 255, cv2.MARKER_STAR, 24, 1)
    assert "?" in read_words(ink_yx)[0].text


def test_a_bar_burnt_into_the_image_is_read(smooth_yx):
    image_yx = smooth_yx.copy()
    image_yx[370:376, 1000:1200] = 255
    image_yx = print_text(image_yx, "10 um", at=(1060, 376))
    bar = read_scale_bar(image_yx, [])
    assert bar.length_um / bar.length_px == pytest.approx(10 / 200, rel=0.005)
    assert (bar.first_row, bar.last_row) == (370, 375)


def test_an_image_without_a_bar_has_none(smooth_yx):
    bright_yx = np.clip(2 * smooth_yx.astype(np.int16), 0, 255).astype(np.uint8)
    assert read_scale_bar(smooth_yx, []) is None
    assert read_scale_bar(bright_yx, []) is None
    assert read_scale_bar(np.full((240, 320), 255, np.uint8), []) is None
