from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from ncm_kedro.sem.io.banner import find_background, find_banner
from ncm_kedro.synthetic.sem.acquisition import draw_banner


@pytest.fixture
def image_yx():
    return np.random.default_rng(2).normal(110, 45, (480, 640)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def banner_yx():
    return draw_banner(640, 0.27, datetime(2024, 5, 6, 7, 8))


def test_white_banner_is_found(image_yx, banner_yx):
    white_yx = 255 - banner_yx
    assert measure_banner(np.vstack([image_yx, white_yx])) == 64
    assert (find_background(banner_yx), find_background(white_yx)) == (0, 255)


@pytest.mark.parametrize(("darker", "below", "expected"), [
    (0, "banner", 64), (100, "banner", 64), (0, "nothing", 0), (130, "nothing", 0), (0, "black", 0),
])  # fmt: skip
def test_a_banner_is_found_below_any_frame_and_nowhere_else(
    image_yx, banner_yx, darker, below, expected
):
    frame_yx = (image_yx.astype(int) - darker).clip(0).astype(np.uint8)
    parts = {"banner": [banner_yx], "nothing": [], "black": [np.zeros((64, 640), np.uint8)]}
    assert measure_banner(np.vstack([frame_yx, *parts[below]])) == expected


@pytest.mark.parametrize("height", [40, 50, 64, 100])
def test_other_heights_are_found(image_yx, banner_yx, height):
    resized_yx = np.zeros((height, 640), np.uint8)
    rows = min(height, 54)
    resized_yx[:rows] = banner_yx[:rows]
    resized_yx[-3:] = 0
    assert measure_banner(np.vstack([image_yx, resized_yx])) == height


@pytest.mark.parametrize("level", [0, 1, 60, 254, 255])
def test_flat_frames_have_no_banner(level):
    assert measure_banner(np.full((480, 640), level, np.uint8)) == 0


@pytest.mark.real
def test_real_banners_are_64_px(real_frames_folder):
    files = sorted(real_frames_folder.glob("*/*.jpg"))[::20]
    assert len(files) > 30
    for file in files:
        with Image.open(file) as image:
            assert measure_banner(np.asarray(image.convert("L"))) == 64, file
