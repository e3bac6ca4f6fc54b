import io
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from ncm_kedro.errors import FrameError
from ncm_kedro.params.sem_ingest import LabelParams, PixelSizeParams, ReadingParams
from ncm_kedro.sem.io.frames import ClassLabel, FrameRecord, LabelledFrame, RawFrames
from ncm_kedro.sem.io.reading import (
    decode_frame,
    decode_image,
    plan_decoding,
    read_micrograph,
)
from ncm_kedro.synthetic.sem.acquisition import draw_banner

PARAMS = ReadingParams(pixel_size=PixelSizeParams(fallback_um=0.25))


def encode(image_yx, kind="JPEG", mode=None, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(image_yx)
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def grey_yx():
    rng = np.random.default_rng(5)
    coarse = rng.integers(40, 220, (16, 20), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8), np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_grey_comes_out_as_it_went_in(grey_yx, kind):
    np.testing.assert_array_equal(decode_image(encode(grey_yx, kind), "a"), grey_yx)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_decoded_to_its_luminance(grey_yx, mode):
    decoded = decode_image(encode(grey_yx, mode=mode, quality=95), "a")
    assert decoded.dtype == np.uint8
    assert decoded.shape == grey_yx.shape
    assert np.abs(decoded.astype(int) - grey_yx).mean() < 2


def test_transparency_is_dropped(grey_yx):
    rgba = np.dstack([grey_yx, grey_yx, grey_yx, np.zeros_like(grey_yx)])
    np.testing.assert_array_equal(decode_image(encode(rgba, "PNG"), "a"), grey_yx)


def test_palette_and_bilevel_images_are_read(grey_yx):
    assert decode_image(encode(grey_yx, "PNG", mode="P"), "a").shape == grey_yx.shape
    assert set(np.unique(decode_image(encode(grey_yx, "PNG", mode="1"), "a"))) <= {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("largest", "depth"), [(65535, 16), (40000, 16), (4095, 12), (3000, 12), (255, 8)]
)
def test_sixteen_bit_is_scaled_by_the_depth_in_use(kind, largest, depth):
    deep_yx = np.linspace(0, largest, 128 * 96).reshape(96, 128).round().astype(np.uint16)
    decoded = decode_image(encode(deep_yx, kind), "a")
    np.testing.assert_allclose(decoded, deep_yx * (255 / (2**depth - 1)), atol=0.5001)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"an empty file \(0 bytes\)"),
        (b"this is a letter, not a picture", "no image"),
        (b"\xff\xd8\xff\xe0", "no image|damaged"),
    ],
)
def test_what_is_no_image_says_so(data, message):
    with pytest.raises(FrameError, match=message) as caught:
        decode_image(data, "333/odd.jpg")
    assert caught.value.where == "333/odd.jpg"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_images_are_refused_never_filled_in(grey_yx, kind, share):
    noisy = grey_yx ^ np.random.default_rng(1).integers(0, 64, grey_yx.shape, dtype=np.uint8)
    data = encode(noisy, kind)
    with pytest.raises(FrameError, match=r"truncated or damaged|no image"):
        decode_image(data[: int(len(data) * share)], "a")


def test_floating_point_images_are_refused(grey_yx):
    with pytest.raises(FrameError, match="mode 'F'"):
        decode_image(encode(grey_yx.astype(np.float32), "TIFF"), "a")


def test_ten_pixels_are_too_few():
    tiny = encode(np.full((10, 10), 7, np.uint8), "PNG")
    with pytest.raises(FrameError, match="10 x 10 px"):
        read_micrograph(tiny, PARAMS, where="a")


def test_banner_is_cut_and_the_bar_measured(grey_yx):
    frame_yx = np.kron(grey_yx, np.ones((6, 4), np.uint8))  # 768 x 640
    banner_yx = draw_banner(640, 0.3, datetime(2024, 1, 2))
    micrograph = read_micrograph(
        encode(np.vstack([frame_yx, banner_yx]), "PNG"), ReadingParams(), where="a"
    )
    np.testing.assert_array_equal(micrograph.image_yx, frame_yx)
    assert micrograph.banner_px == 64
    assert micrograph.pixel_size.source == "scale_bar"
    assert micrograph.pixel_size.value_um == pytest.approx(0.3, rel=0.005)
    assert micrograph.flags == ("sidecar_missing",)


def test_no_banner_falls_back_to_the_parameter(grey_yx):
    micrograph = read_micrograph(encode(grey_yx, "PNG"), PARAMS, where="a")
    assert micrograph.banner_px == 0
    assert (micrograph.pixel_size.value_um, micrograph.pixel_size.source) == (0.25, "parameter")
    assert "banner_missing" in micrograph.flags


def test_no_pixel_size_at_all_names_the_ways_out(grey_yx):
    with pytest.raises(FrameError, match=r"fallback_um.*frames\.csv"):
        read_micrograph(encode(grey_yx, "PNG"), ReadingParams(), where="a")


def labelled(tmp_path, grey_yx, **settings):
    path = tmp_path / "a.png"
    path.write_bytes(encode(grey_yx, "PNG"))
    record = FrameRecord("811_cycled/a.png", "811_cycled", path, None, settings)
    return LabelledFrame("811_cycled/a", ClassLabel("811", "cycled"), record)


def test_frame_table_overrides_the_sidecar(tmp_path, grey_yx):
    frame = labelled(
        tmp_path,
        grey_yx,
        pixel_size_um="0.5",
        magnification="x800",
        accelerating_voltage_kv="15",
        instrument="Other",
        acquired_at="2020-01-02 03:04:05",
    )
    attributes = decode_frame(frame, ReadingParams()).attributes
    assert (attributes["pixel_size_um"], attributes["pixel_size_source"]) == (0.5, "frame_table")
    assert attributes["magnification"] == 800
    assert attributes["accelerating_voltage_kv"] == 15
    assert attributes["instrument"] == "Other"
    assert attributes["acquired_at"] == "2020-01-02T03:04:05"
    assert (attributes["height_px"], attributes["width_px"]) == grey_yx.shape


@pytest.mark.parametrize(
    ("column", "value"),
    [("pixel_size_um", "wide"), ("pixel_size_um", "-1"), ("magnification", "nan"),
     ("acquired_at", "yesterday")],
)  # fmt: skip
def test_bad_cells_of_the_frame_table_are_located(tmp_path, grey_yx, column, value):
    frame = labelled(tmp_path, grey_yx, **{"pixel_size_um": "1", column: value})
    with pytest.raises(FrameError, match=f"'{value}' in column {column}"):
        decode_frame(frame, ReadingParams())


def test_digest_follows_the_reading_parameters(tmp_path):
    raw = RawFrames(tmp_path, (FrameRecord("333/a.png", "333", tmp_path / "a.png"),))
    first, again, other = (
        plan_decoding(raw, LabelParams(), params).reading_digest
        for params in (PARAMS, PARAMS, ReadingParams())
    )
    assert first == again != other
