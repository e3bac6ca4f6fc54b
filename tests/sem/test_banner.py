import io
from datetime import datetime

import cv2
import numpy as np
import pytest
from PIL import Image

from ncm_kedro.sem.io.annotations import find_annotations
from ncm_kedro.sem.io.banner import cut_annotations, find_banner, find_bars
from ncm_kedro.synthetic.sem.acquisition import draw_banner


@pytest.fixture
def image_yx():
    return np.random.default_rng(2).normal(110, 45, (480, 640)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def banner_yx():
    return draw_banner(640, 0.27, datetime(2024, 5, 6, 7, 8))


def paint(banner_yx, background, ink):
    """Print a black banner in other greys."""
    return (background + (ink - background) * (banner_yx / 255)).round().astype(np.uint8)


def frame_cells(banner_yx, line):
    """Draw a frame and the rules of a grid of cells, as FEI does."""
    framed_yx = banner_yx.copy()
    framed_yx[[0, -1]] = framed_yx[:, [0, -1]] = line
    framed_yx[:, ::160] = framed_yx[len(framed_yx) // 2] = line
    return framed_yx


def save_as_jpeg(image_yx, quality):
    buffer = io.BytesIO()
    Image.fromarray(image_yx).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def locate(image_yx):
    banner = find_banner(image_yx)
    return banner.first_row, banner.stop_row, banner.status


@pytest.mark.parametrize(
    ("background", "ink"), [(0, 255), (255, 0), (96, 255), (53, 250), (140, 20)]
)
@pytest.mark.parametrize("quality", [None, 95, 75])
def test_a_banner_of_any_grey_is_found_at_either_edge(
    image_yx, banner_yx, background, ink, quality
):
    painted_yx = paint(banner_yx, background, ink)
    for parts, rows in (((image_yx, painted_yx), (480, 544)), ((painted_yx, image_yx), (0, 64))):
        frame_yx = np.vstack(parts)
        frame_yx = frame_yx if quality is None else save_as_jpeg(frame_yx, quality)
        assert locate(frame_yx) == (*rows, "found")


@pytest.mark.parametrize(("darker", "below", "expected"), [
    (0, "banner", (480, 544, "found")), (100, "banner", (480, 544, "found")),
    (0, "nothing", (0, 0, "none")), (130, "nothing", (0, 0, "none")),
    (0, "black", (480, 544, "unsure")),
])  # fmt: skip
def test_a_banner_is_found_below_any_frame_and_nowhere_else(
    image_yx, banner_yx, darker, below, expected
):
    frame_yx = (image_yx.astype(int) - darker).clip(0).astype(np.uint8)
    parts = {"banner": [banner_yx], "nothing": [], "black": [np.zeros((64, 640), np.uint8)]}
    assert locate(np.vstack([frame_yx, *parts[below]])) == expected


@pytest.mark.parametrize("quality", [None, 85, 60])
def test_a_framed_banner_is_found_below_a_black_image(banner_yx, quality):
    frame_yx = np.vstack([np.zeros((480, 640), np.uint8), frame_cells(banner_yx, 252)])
    frame_yx = frame_yx if quality is None else save_as_jpeg(frame_yx, quality)
    assert locate(frame_yx) == (480, 544, "found")


@pytest.mark.parametrize("seed", range(24))
def test_a_databar_is_told_from_an_image_of_about_its_grey(seed):
    """Any height, grey, frame and compression, below or above images as dark as the bar."""
    rng = np.random.default_rng(seed)
    height = int(rng.integers(30, 80))
    background = int(rng.choice([0, 30, 53, 96, 150, 200, 255]))
    bar_yx = np.full((height, 640), background, np.uint8)
    ink = 0 if background > 127 else 255
    for y, text in ((13, "15.0kV WD 10.5mm x20,000"), (height - 5, "SE 2021-03-04 2 um")):
        cv2.putText(bar_yx, text, (8, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, ink, 1, cv2.LINE_AA)
    bar_yx[height // 2 : height // 2 + 3, 400:600] = ink
    bar_yx = frame_cells(bar_yx, ink) if seed % 3 == 0 else bar_yx
    grain_yx = cv2.GaussianBlur(rng.normal(size=(480, 640)), (0, 0), rng.uniform(2, 15))
    near = np.clip(background + rng.uniform(-40, 40), 40, 215)  # not clipped as a whole
    noise_yx = rng.normal(0, rng.uniform(4, 10), grain_yx.shape)
    recorded_yx = near + rng.uniform(15, 50) * grain_yx / grain_yx.std() + noise_yx
    recorded_yx = recorded_yx.clip(0, 255).astype(np.uint8)
    at_top = seed % 4 == 0
    frame_yx = np.vstack([bar_yx, recorded_yx] if at_top else [recorded_yx, bar_yx])
    frame_yx = save_as_jpeg(frame_yx, 80) if seed % 2 else frame_yx
    first_row, stop_row, status = locate(frame_yx)
    expected = (0, height) if at_top else (480, 480 + height)
    assert status in ("found", "unsure")
    assert abs(first_row - expected[0]) + abs(stop_row - expected[1]) <= 2
    assert find_banner(recorded_yx).status == "none"


@pytest.mark.parametrize("beyond", [1, 3])
@pytest.mark.parametrize("quality", [None, 75])
def test_image_rows_beyond_the_frame_line_belong_to_the_banner(
    image_yx, banner_yx, beyond, quality
):
    framed_yx = frame_cells(255 - banner_yx, 0)
    frame_yx = np.vstack([image_yx[:475], framed_yx, image_yx[:beyond]])
    frame_yx = frame_yx if quality is None else save_as_jpeg(frame_yx, quality)
    first_row, stop_row, status = locate(frame_yx)
    assert (stop_row, status) == (len(frame_yx), "found")
    assert 473 <= first_row <= 475


@pytest.mark.parametrize("height", [40, 50, 64, 100])
def test_other_heights_are_found(image_yx, banner_yx, height):
    resized_yx = np.zeros((height, 640), np.uint8)
    rows = min(height, 54)
    resized_yx[:rows] = banner_yx[:rows]
    resized_yx[-3:] = 0
    assert find_banner(np.vstack([image_yx, resized_yx])).height_px == height


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.3])
def test_nothing_of_a_resampled_banner_is_left(image_yx, banner_yx, scale):
    whole_yx = np.vstack([image_yx, frame_cells(255 - banner_yx, 0)])
    frame_yx = cv2.resize(whole_yx, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    banner = find_banner(frame_yx)
    assert banner.status == "found"
    assert -2 <= banner.first_row - 480 * scale <= 1


def test_a_logo_on_its_own_grey_may_take_a_third_of_a_banner(image_yx, banner_yx):
    banner_yx = np.delete(banner_yx, np.s_[220:440], axis=1)
    banner_yx = np.hstack([banner_yx, np.full((64, 220), 175, np.uint8)])
    assert locate(np.vstack([image_yx, banner_yx])) == (480, 544, "found")


def test_a_reduced_banner_of_small_print_is_found_in_a_jpeg():
    image_yx = np.random.default_rng(2).normal(190, 25, (600, 700)).clip(0, 255).astype(np.uint8)
    image_yx = cv2.GaussianBlur(image_yx, (0, 0), 2)
    banner_yx = np.full((52, 700), 240, np.uint8)
    for row in (20, 46):
        for part in range(5):  # print that leaves next to no row to the background alone
            cv2.putText(banner_yx, "EHT 5.00 kV", (140 * part, row), 0, 0.6, 0, 1, cv2.LINE_AA)
    frame_yx = cv2.resize(np.vstack([image_yx, banner_yx]), None, fx=0.5, fy=0.5, interpolation=3)
    assert locate(save_as_jpeg(frame_yx, 75)) == (300, 326, "found")


def test_bars_at_both_edges_are_found(image_yx, banner_yx):
    header_yx = paint(banner_yx[:30], 96, 255)
    bars = find_bars(np.vstack([header_yx, image_yx, banner_yx]))
    assert [(bar.first_row, bar.stop_row) for bar in bars] == [(510, 574), (0, 30)]


@pytest.mark.parametrize("level", [0, 1, 60, 254, 255])
def test_flat_frames_have_no_banner(level):
    assert locate(np.full((480, 640), level, np.uint8)) == (0, 0, "none")


def test_a_dark_rim_around_the_field_is_no_banner():
    """The pole piece shadows the corners and the lower edge: smooth, dark, and recorded."""
    y, x = np.mgrid[:480, :640]
    noise = np.random.default_rng(0).normal(0, 1, (480, 640))
    glow_yx = 180 * np.exp(-(((y - 220) / 140) ** 4) - ((x - 320) / 200) ** 4)
    assert locate((glow_yx + noise).clip(0, 255).astype(np.uint8)) == (0, 0, "none")


def draw_overlay(image_yx, y, *, colour=255, text="10.0kV 14.4mm x1.00k SE(M)"):
    drawn_yx = image_yx.copy()
    cv2.putText(drawn_yx, text, (14, y), cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, 2)
    for x in np.linspace(330, 620, 11).astype(int):
        drawn_yx[y - 52 : y - 38, x : x + 3] = colour
    return drawn_yx


@pytest.fixture
def smooth_yx():
    """An image whose lower edge is dark and smooth, as a pore is."""
    shade = np.interp(np.arange(480), [0, 360, 420, 480], [140, 140, 88, 88])
    noise = np.random.default_rng(1).normal(0, 3, (480, 640))
    return (shade[:, None] + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [None, 75])
def test_text_over_the_image_is_no_banner_and_is_cut(smooth_yx, quality):
    frame_yx = draw_overlay(smooth_yx, 465)
    frame_yx = frame_yx if quality is None else save_as_jpeg(frame_yx, quality)
    assert find_banner(frame_yx).height_px == 0
    rows, flags = cut_annotations(frame_yx)
    assert flags == ("annotated",)
    assert rows.start == 0
    assert 400 <= rows.stop <= 465 - 52
    assert not find_annotations(frame_yx[rows])


@pytest.mark.parametrize("colour", [0, 255])
def test_text_in_the_middle_of_an_image_is_flagged_as_such(smooth_yx, colour):
    rows, flags = cut_annotations(draw_overlay(smooth_yx, 240, colour=colour))
    assert flags == ("annotated", "annotated_inside")
    assert rows == slice(0, 480)


def test_a_burnt_in_bar_with_its_label_is_cut(image_yx):
    frame_yx = image_yx // 2
    frame_yx[450:456, 480:600] = 255
    cv2.putText(frame_yx, "10 um", (500, 442), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    rows, flags = cut_annotations(frame_yx)
    assert flags == ("annotated",)
    assert rows.stop <= 428


def test_bright_and_clipped_grains_are_no_text():
    rng = np.random.default_rng(3)
    for seed_px in (2, 4, 8):
        grain_yx = cv2.GaussianBlur(rng.normal(size=(960, 1280)), (0, 0), seed_px)
        frame_yx = (128 + 120 * grain_yx / grain_yx.std() + rng.normal(0, 8, grain_yx.shape)).clip(
            0, 255
        )
        assert not find_annotations(frame_yx.astype(np.uint8))


@pytest.fixture
def grains_yx():
    """Smooth grey grains with noise."""
    rng = np.random.default_rng(3)
    grains_yx = cv2.GaussianBlur(rng.normal(0, 1, (480, 640)).astype(np.float32), None, 8)
    grains_yx = 110 + 35 * grains_yx / grains_yx.std() + rng.normal(0, 6, grains_yx.shape)
    return grains_yx.clip(15, 240).astype(np.uint8)


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("quality", [None, 90])
@pytest.mark.parametrize(
    "draw",
    [
        lambda image, ink: cv2.line(image, (200, 240), (330, 240), ink, 1),
        lambda image, ink: cv2.line(image, (200, 200), (330, 243), ink, 2),
        lambda image, ink: cv2.arrowedLine(image, (400, 300), (280, 200), ink, 3),
        lambda image, ink: cv2.rectangle(image, (250, 150), (350, 250), ink, 1),
    ],
    ids=["measured length", "slanted", "arrow", "box"],
)
def test_lines_drawn_without_text_are_seen(grains_yx, draw, quality, ink):
    drawn_yx = draw(grains_yx.copy(), ink)
    drawn_yx = drawn_yx if quality is None else save_as_jpeg(drawn_yx, quality)
    assert cut_annotations(drawn_yx)[1] == ("annotated", "annotated_inside")


def test_edges_that_charge_are_no_drawn_lines(grains_yx):
    assert cut_annotations(grains_yx)[1] == ()
    rows, columns = np.indices(grains_yx.shape)
    noise_yx = np.random.default_rng(5).normal(0, 60, grains_yx.shape)
    edge_yx = 250 * np.exp(-(((rows - 240 - columns / 20) / 2.5) ** 2) / 2)
    charged_yx = (40 + edge_yx + noise_yx).clip(0, 255).astype(np.uint8)
    assert cut_annotations(charged_yx)[1] == ()
    dark_yx = np.where(abs(rows - 240 - columns / 20) < 2, 255, 0).astype(np.uint8)
    assert cut_annotations(dark_yx)[1] == ()  # clipped all over: its edges are as sharp as lines
    noise_yx = np.random.default_rng(4).normal(0, 40, (480, 640)).clip(0, 255).astype(np.uint8)
    assert cut_annotations(noise_yx)[1] == ()  # half of it is clipped


@pytest.mark.real
def test_real_banners_are_64_px(real_frames_folder):
    files = sorted(real_frames_folder.glob("*/*.jpg"))[::20]
    assert len(files) > 30
    for file in files:
        with Image.open(file) as image:
            assert locate(np.asarray(image.convert("L"))) == (896, 960, "found"), file
