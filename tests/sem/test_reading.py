import contextlib
import io
import warnings
from datetime import datetime

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from ncm_kedro.errors import FrameError
from ncm_kedro.params.sem_ingest import LabelParams, PixelSizeParams, ReadingParams
from ncm_kedro.sem.io.decoding import decode_image
from ncm_kedro.sem.io.frames import ClassLabel, FrameRecord, LabelledFrame, RawFrames
from ncm_kedro.sem.io.grey_range import decide_ranges, map_grey, summarise_grey
from ncm_kedro.sem.io.reading import decode_frame, plan_decoding, read_micrograph
from ncm_kedro.synthetic.sem.acquisition import draw_banner

PARAMS = ReadingParams(pixel_size=PixelSizeParams(fallback_um=0.25))


def encode(image_yx, kind="JPEG", mode=None, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(image_yx)
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def write_tiff(image_yx, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image_yx, **options)
    return buffer.getvalue()


@pytest.fixture
def grey_yx():
    rng = np.random.default_rng(5)
    coarse = rng.integers(40, 220, (16, 20), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8), np.uint8))


def read_grey(data, params=PARAMS, ranges=None):
    return map_grey(decode_image(data, "a", params), ranges, params.bit_depth)[0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_grey_comes_out_as_it_went_in(grey_yx, kind):
    np.testing.assert_array_equal(read_grey(encode(grey_yx, kind)), grey_yx)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_decoded_to_its_luminance(grey_yx, mode):
    decoded = read_grey(encode(grey_yx, mode=mode, quality=95))
    assert decoded.dtype == np.uint8
    assert decoded.shape == grey_yx.shape
    assert np.abs(decoded.astype(int) - grey_yx).mean() < 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_transparency_is_dropped(grey_yx, kind):
    clear = np.zeros_like(grey_yx)
    for layers in ([grey_yx] * 3, [grey_yx]):
        data = encode(np.dstack([*layers, clear]), kind)
        np.testing.assert_array_equal(read_grey(data), grey_yx)


def test_palette_images_are_read_by_their_colours(grey_yx):
    assert read_grey(encode(grey_yx, "PNG", mode="P")).shape == grey_yx.shape
    ramp = np.arange(256, dtype=np.uint16)[::-1]
    for colormap in (ramp * 257, ramp):  # as the standard says, and as some write it
        data = write_tiff(grey_yx, photometric="palette", colormap=np.stack([colormap] * 3))
        np.testing.assert_array_equal(read_grey(data), 255 - grey_yx)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_black_and_white_images_are_refused(grey_yx, kind):
    with pytest.raises(FrameError, match="1 bit"):
        decode_image(encode(grey_yx, kind, mode="1"), "a", PARAMS)


@pytest.mark.parametrize("options", [
    {"compression": "lzw"}, {"compression": "zlib", "predictor": True}, {"tile": (64, 64)},
    {"bigtiff": True}, {"byteorder": ">"}, {"rowsperstrip": 7},
])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_of_any_layout_is_read(grey_yx, options, dtype):
    data = write_tiff(grey_yx.astype(dtype), **options)
    np.testing.assert_array_equal(read_grey(data), grey_yx)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_images_are_turned_upright(grey_yx, orientation, kind):
    exif = Image.Exif()
    exif[274] = orientation
    extra = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif}
    quality = {"quality": 100} if kind == "JPEG" else {}
    data = encode(grey_yx, kind, **extra, **quality)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.abs(read_grey(data).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_min_is_white_is_not_inverted(grey_yx, dtype):
    factor = 257 if dtype == np.uint16 else 1
    white_yx = ((255 - grey_yx).astype(int) * factor).astype(dtype)
    decoded = read_grey(write_tiff(white_yx, photometric="miniswhite"))
    assert np.abs(decoded.astype(int) - grey_yx).max() <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("white", [1, 255])
def test_floating_point_is_read_from_0_to_1_and_to_255(grey_yx, dtype, white):
    data = write_tiff((grey_yx / 255 * white).astype(dtype))
    assert np.abs(read_grey(data).astype(int) - grey_yx).max() <= 1


def test_values_that_are_no_numbers_are_refused(grey_yx):
    float_yx = grey_yx.astype(np.float32)
    float_yx[3, 4] = np.nan
    with pytest.raises(FrameError, match="no numbers"):
        decode_image(write_tiff(float_yx), "a", PARAMS)


@pytest.mark.parametrize("pages", ["thumbnail first", "two fields"])
def test_of_several_pages_the_full_size_one_is_used_with_a_flag(grey_yx, pages):
    other_yx = grey_yx[::4, ::4] if pages == "thumbnail first" else grey_yx[::-1]
    order = [other_yx, grey_yx] if pages == "thumbnail first" else [grey_yx, other_yx]
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in order:
            writer.write(page)
    micrograph = read_micrograph(buffer.getvalue(), PARAMS, where="a")
    np.testing.assert_array_equal(micrograph.image_yx, grey_yx)
    assert "pages_dropped" in micrograph.flags


def test_planes_of_one_page_are_counted(grey_yx):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.stack([grey_yx, grey_yx]), imagej=True)
    assert decode_image(buffer.getvalue(), "a", PARAMS).flags == ("pages_dropped",)


def test_the_size_limit_is_a_setting(grey_yx):
    small = PARAMS.model_copy(update={"max_megapixels": 0.01})
    with pytest.raises(FrameError, match=r"160 x 128.*reading\.max_megapixels"):
        decode_image(encode(grey_yx, "PNG"), "a", small)
    large = np.zeros((13_000, 14_336), np.uint8)
    data = write_tiff(large, compression="zlib")
    assert decode_image(data, "a", PARAMS).grey_yx.shape == large.shape


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"an empty file \(0 bytes\)"),
        (b"this is a letter, not a picture", "no image"),
        (b"\xff\xd8\xff\xe0", "no image|damaged"),
        (b"II*\0\x08\0\0\0", "damaged"),
    ],
)
def test_what_is_no_image_says_so(data, message):
    with pytest.raises(FrameError, match=message) as caught:
        decode_image(data, "333/odd.jpg", PARAMS)
    assert caught.value.where == "333/odd.jpg"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "LZW"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_images_are_refused_never_filled_in(grey_yx, kind, share):
    noisy = grey_yx ^ np.random.default_rng(1).integers(0, 64, grey_yx.shape, dtype=np.uint8)
    data = write_tiff(noisy, compression="lzw") if kind == "LZW" else encode(noisy, kind)
    with pytest.raises(FrameError, match=r"truncated or damaged|no image"):
        decode_image(data[: int(len(data) * share)], "a", PARAMS)


def test_damage_anywhere_is_an_error_of_that_frame_or_none(grey_yx):
    rng = np.random.default_rng(0)
    for kind in ("PNG", "TIFF", "JPEG"):
        data = bytearray(encode(grey_yx, kind))
        for _ in range(40):
            hurt = bytearray(data)
            for place in rng.integers(0, min(len(data), 400), 3):
                hurt[place] = rng.integers(256)
            with contextlib.suppress(FrameError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                decode_image(bytes(hurt), "a", PARAMS)


def decide(*frames, bit_depth=None):
    rasters = [decode_image(data, "a", PARAMS) for data in frames]
    ranges = decide_ranges([summarise_grey(raster) for raster in rasters], bit_depth)
    return [map_grey(raster, ranges, bit_depth) for raster in rasters]


def draw_deep(largest, seed=0):
    smooth = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(96, 128)), (0, 0), 3)
    return np.interp(smooth, [smooth.min(), smooth.max()], [0, largest]).round().astype(np.uint16)


@pytest.mark.parametrize("write", [imagecodecs.png_encode, write_tiff])
@pytest.mark.parametrize(("largest", "depth"), [(65535, 16), (14_000, 14), (4095, 12), (255, 8)])
def test_frames_of_a_run_share_the_range_of_the_brightest(write, largest, depth):
    bright_yx, dim_yx = draw_deep(largest), draw_deep(0.2 * largest, seed=1)
    for values_yx, (mapped_yx, flags) in zip(
        (bright_yx, dim_yx), decide(write(bright_yx), write(dim_yx)), strict=True
    ):
        np.testing.assert_allclose(mapped_yx, values_yx * (255 / (2**depth - 1)), atol=0.5001)
        assert not flags


def test_hot_pixels_do_not_decide():
    deep_yx = draw_deep(4000)
    clean_yx = decide(write_tiff(deep_yx))[0][0]
    deep_yx[::40, ::40] = 65535
    hot_yx = decide(write_tiff(deep_yx))[0][0]
    assert (hot_yx != clean_yx).mean() < 0.002


def test_a_databar_of_another_depth_does_not_decide():
    banner_yx = draw_banner(640, 0.3, datetime(2024, 1, 2)).astype(np.uint16) * 257
    image_yx = cv2.resize(draw_deep(4000), (640, 480))
    mapped_yx, _ = decide(write_tiff(np.vstack([image_yx, banner_yx])))[0]
    assert mapped_yx[:480].max() > 240


def test_a_frame_far_below_the_range_of_its_run_is_flagged():
    (_, first), (_, second) = decide(write_tiff(draw_deep(65535)), write_tiff(draw_deep(2000)))
    assert not first
    assert second == {"grey_range_underused"}


def test_wider_numbers_do_not_decide_for_narrower_ones():
    wide = (draw_deep(4000).astype(np.uint32)) * 100_000
    (first_yx, flags), (second_yx, _) = decide(write_tiff(draw_deep(4000)), write_tiff(wide))
    assert not flags
    assert first_yx.max() > 240 < second_yx.max()


def test_the_bit_depth_can_be_set():
    deep_yx = draw_deep(900)
    mapped_yx, flags = decide(write_tiff(deep_yx), bit_depth=12)[0]
    np.testing.assert_allclose(mapped_yx, deep_yx * (255 / 4095), atol=0.5001)
    assert not flags


def test_packed_twelve_bits_are_known_from_the_file():
    deep_yx = draw_deep(500)  # dim, but the file says that white is 4095
    packed = imagecodecs.packints_encode(deep_yx, 12)
    buffer = io.BytesIO()
    tags = [(258, 3, 1, 12, True)]
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(
            iter([packed]), shape=deep_yx.shape, dtype=np.uint16, bitspersample=12, extratags=tags
        )
    mapped_yx = read_grey(buffer.getvalue())
    np.testing.assert_allclose(mapped_yx, deep_yx * (255 / 4095), atol=0.5001)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_deep_colour_keeps_its_depth(kind):
    deep_yx = draw_deep(4095)
    rgb = np.dstack([deep_yx] * 3)
    data = imagecodecs.png_encode(rgb) if kind == "PNG" else write_tiff(rgb, photometric="rgb")
    np.testing.assert_allclose(decide(data)[0][0], deep_yx * (255 / 4095), atol=0.5001)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_other_values_range_over_what_the_run_holds_and_are_flagged(dtype):
    frames = [(draw_deep(largest) * 1000.0 - 5e5).astype(dtype) for largest in (5000, 2500)]
    (first_yx, flags), (second_yx, _) = decide(*(write_tiff(frame) for frame in frames))
    assert flags == {"grey_range_guessed"}
    assert first_yx.max() == 255
    assert int(second_yx.max()) == pytest.approx(127, abs=4)


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


def test_digest_follows_the_grey_range_of_the_run(tmp_path):
    def plan(**frames):
        for name, data in frames.items():
            (tmp_path / name).write_bytes(data)
        records = [FrameRecord(f"333/{name}", "333", tmp_path / name) for name in frames]
        return plan_decoding(RawFrames(tmp_path, tuple(records)), LabelParams(), PARAMS)

    twelve, sixteen = write_tiff(draw_deep(4000)), write_tiff(draw_deep(60_000))
    first, again, more = (
        plan(a=twelve, b=b"no image"), plan(a=twelve, c=twelve), plan(a=twelve, b=sixteen)
    )  # fmt: skip
    assert first.reading_digest == again.reading_digest != more.reading_digest
    dim, bright = (plan_.decode(plan_.frames[0]).image_yx for plan_ in (more, first))
    assert dim.max() < 20
    assert bright.max() > 240


def colour(grey_yx, hue):
    return (grey_yx[..., None] * np.asarray(hue)).round().astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_colour_in_the_image_is_flagged_and_in_the_banner_is_not(grey_yx, kind):
    banner_yx = draw_banner(640, 0.3, datetime(2024, 1, 2))
    frame = colour(np.vstack([np.kron(grey_yx, np.ones((3, 4), np.uint8)), banner_yx]), (1, 1, 1))
    logo, marked = frame.copy(), frame.copy()
    logo[-50:-10, 5:45] = (20, 60, 220)
    cv2.circle(marked, (300, 100), 30, (250, 240, 10), 2)
    flags = [read_micrograph(encode(rgb, kind), PARAMS, where="a").flags for rgb in (logo, marked)]
    assert ["coloured" in names for names in flags] == [False, True]


def test_an_element_map_is_coloured_and_a_tint_is_taken_out(grey_yx):
    element = read_micrograph(encode(colour(grey_yx, (0.1, 1, 0.1)), "PNG"), PARAMS, where="a")
    assert "coloured" in element.flags
    sepia = read_micrograph(encode(colour(grey_yx, (1, 0.85, 0.6)), "PNG"), PARAMS, where="a")
    assert "tinted" in sepia.flags
    assert "coloured" not in sepia.flags
    np.testing.assert_array_equal(sepia.image_yx, grey_yx)
