"""Where a pixel size comes from, and that none of unknown unit or of another thing is taken."""

import io
import re
from datetime import datetime

import numpy as np
import pytest
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import ValidationError
from vendors import (
    describe_phenom,
    write_tiff,
    write_vendor_sidecar,
    write_vendor_tiff,
)

from ncm_kedro.errors import FrameError
from ncm_kedro.params.sem_ingest import PixelSizeParams, ReadingParams
from ncm_kedro.sem.io.metadata import find_stated_size, read_embedded
from ncm_kedro.sem.io.pixel_size import KnownSizes, find_pixel_size
from ncm_kedro.sem.io.reading import read_micrograph
from ncm_kedro.sem.io.sidecar import Sidecar, describe_sidecar, read_sidecar
from ncm_kedro.synthetic.sem.acquisition import draw_banner

PARAMS = PixelSizeParams()
GREY = np.random.default_rng(7).integers(60, 180, (240, 320), dtype=np.uint8)
WIDE = np.zeros((960, 1280), np.uint8)


def find(known=None, image_yx=WIDE, databars=(), params=PARAMS):
    return find_pixel_size(image_yx, databars, known or KnownSizes(), params, "a")


def beside(text, **more):
    return KnownSizes(read_sidecar(text.encode()), **more)


def scan_sidecar(pixel_um, width_px=480):
    return beside(f"[Active Scan]\nFrame Size : {width_px},{width_px}\nPixel Size : {pixel_um}\n")


def with_bar(pixel_size_um):
    banner_yx = draw_banner(1280, pixel_size_um, datetime(2024, 5, 6))
    return np.vstack([WIDE, banner_yx]), [slice(960, 1024)]


def png(image_yx, **options):
    buffer = io.BytesIO()
    Image.fromarray(image_yx).save(buffer, "PNG", **options)
    return buffer.getvalue()


# what instruments write into the file


@pytest.mark.parametrize("pixel_size_um", [0.00558, 0.05, 0.9537])
@pytest.mark.parametrize(
    "vendor", ["fei", "fei_sfeg", "zeiss", "zeiss_display", "tescan", "phenom", "fibics"]
)
def test_tags_of_instruments(vendor, pixel_size_um):
    data = write_vendor_tiff(vendor, GREY, pixel_size_um)
    micrograph = read_micrograph(data, ReadingParams(), where="a")
    assert micrograph.pixel_size.value_um == pytest.approx(pixel_size_um, rel=1e-3)
    assert micrograph.pixel_size.source == "metadata"
    assert "sidecar_missing" not in micrograph.flags


def test_a_jpeg_of_a_phenom_has_its_pixel_size_behind_the_pixels():
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "JPEG")
    micrograph = read_micrograph(
        buffer.getvalue() + describe_phenom(0.2074), ReadingParams(), where="a"
    )
    assert micrograph.pixel_size.value_um == pytest.approx(0.2074)


def test_the_pixels_of_a_display_say_nothing_of_a_crop():
    embedded = read_embedded(write_vendor_tiff("zeiss_display", GREY, 0.05))
    crop_yx = np.zeros((GREY.shape[0], GREY.shape[1] // 2), np.uint8)
    with pytest.raises(FrameError):
        find(KnownSizes(embedded=embedded), crop_yx)


@pytest.mark.parametrize(
    ("vendor", "magnification", "voltage_kv", "instrument", "acquired_at"),
    [
        ("fei", None, 5, "Helios NanoLab", "2016-06-13T17:06:40"),
        ("zeiss", 7940, 5, "Merlin", "2015-12-23T09:40:32"),
        ("tescan", 7937.5, 10, "MIRA3 XMU", "2016-05-16T16:03:27"),
    ],
)
def test_further_facts_come_from_the_tags(
    vendor, magnification, voltage_kv, instrument, acquired_at
):
    embedded = read_embedded(write_vendor_tiff(vendor, GREY, 0.05))
    described = describe_sidecar(Sidecar(), embedded)
    assert described["magnification"] == magnification
    assert described["accelerating_voltage_kv"] == voltage_kv
    assert described["instrument"] == instrument
    assert described["acquired_at"] == acquired_at


@pytest.mark.parametrize(
    ("options", "expected_um"),
    [
        ({"resolution": (96, 96), "resolutionunit": "INCH"}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (118.11, 118.11), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (20, 20), "resolutionunit": "NONE"}, None),
        ({"resolution": (508_000, 508_000), "resolutionunit": "INCH"}, 0.05),
        ({"resolution": (200_000, 200_000), "resolutionunit": "CENTIMETER"}, 0.05),
        ({"resolution": (200_000, 100_000), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (20, 20), "imagej": True, "metadata": {"unit": "um"}}, 0.05),
        ({"resolution": (20, 20), "imagej": True, "metadata": {"unit": "micron"}}, 0.05),
        ({"resolution": (20, 20), "imagej": True, "metadata": {"unit": "\\u00B5m"}}, 0.05),
        ({"resolution": (0.02, 0.02), "imagej": True, "metadata": {"unit": "nm"}}, 0.05),
        ({"resolution": (20, 20), "imagej": True, "metadata": {"unit": "pixel"}}, None),
        ({"resolution": (96, 96), "imagej": True, "metadata": {"unit": "inch"}}, None),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.05, "PhysicalSizeXUnit": "µm"}}, 0.05),
        ({"ome": True, "metadata": {"PhysicalSizeX": 50, "PhysicalSizeXUnit": "nm"}}, 0.05),
        ({"extratags": [(65003, 2, 2, "nm", True), (65009, 12, 1, 50.0, True)]}, 0.05),
    ],
)  # fmt: skip
def test_resolutions_count_only_where_no_screen_or_print_has_them(options, expected_um):
    size, _ = find_stated_size(read_embedded(write_tiff(GREY, **options)))
    assert (size and size.value_um) == (expected_um and pytest.approx(expected_um))


@pytest.mark.parametrize(("dpi", "expected_um"), [(72, None), (300, None), (508_000, 0.05)])
def test_resolutions_of_png_likewise(dpi, expected_um):
    size, _ = find_stated_size(read_embedded(png(GREY, dpi=(dpi, dpi))))
    assert (size and size.value_um) == (expected_um and pytest.approx(expected_um, rel=1e-3))


@pytest.mark.parametrize("share", [0.001, 0.01, 0.5, 0.98])
def test_what_is_damaged_says_nothing(share):
    data = write_vendor_tiff("tescan", GREY, 0.05)
    assert isinstance(read_embedded(data[: int(share * len(data))]), Sidecar)
    assert read_embedded(png(GREY, pnginfo=PngInfo())[:100]).sections == {}
    assert read_embedded(b"").sections == {}


# what instruments write beside the file


@pytest.mark.parametrize("vendor", ["hitachi", "jeol", "tescan"])
def test_sidecars_of_instruments(vendor):
    data = write_vendor_sidecar(vendor, (960, 1280), 0.0625)
    found = find(KnownSizes(read_sidecar(data)))
    assert found.value_um == pytest.approx(0.0625, rel=1e-3)
    assert (found.source, found.flags) == ("metadata", ())


@pytest.mark.parametrize(
    ("text", "expected_um"),
    [
        ("Pixel Size : 24.8 nm", 0.0248), ("Pixel Size : 0.0248 um", 0.0248),
        ("Pixel Size : 2.48E-8 m", 0.0248), ("Pixel Size : 0,0248 um", 0.0248),
        ("Pixel Size : 1,25 um", 1.25), ("PixelSize=24.8nm", 0.0248),
        ("Pixel Size (nm) : 24.8", 0.0248), ("Pixel Size [µm]\t0.0248", 0.0248),
        ("PixelSize_nm = 24.8", 0.0248), ("Image Pixel Size : 24.8 nm", 0.0248),
        ("Pixel Size : 24.8 x 24.8 nm", 0.0248), ("Pixel Size : 24.8 nm x 24.8 nm", 0.0248),
        ("Pixel Size : 24.8 nm/pixel", 0.0248), ("Pixel Size : 24.8 nm per pixel", 0.0248),
        ("Pixel Size : 24.8 \u00d7 24.8 nm", 0.0248), ("Pixel Size : 2.48 x 10^-2 um", 0.0248),
        ("Pixel Size : 12.4 nm\nImage Pixel Size : 24.8 nm", 0.0248),
        ("Pixel Size : 24.8 nm\n[b]\nPixel Size : 0.0248 um", 0.0248),
        ("Pixel Size : 24.8 nm\n[b]\nPixel Size : 12.4 nm", None),
        ("Pixel Width : 24.8 nm\nPixel Height : 24.8 nm", 0.0248),
        ("PixelWidth : 24.8 nm\nPixelHeight : 31 nm\nPixelSize :", None),
        ("[MAIN]\nPixelSizeX=2.48e-8\nPixelSizeY=3.1e-8", None),
        ("Taille du pixel : 24,8 nm", 0.0248), ("픽셀 사이즈 : 24.8 nm", 0.0248),
        ("픽셀 크기 : 24.8 nm", 0.0248), ("Pixelgröße : 24,8 nm", 0.0248),
        ("ピクセルサイズ\uff1a24.8 nm", 0.0248),
        ("Pixel Size : 24.8", None), ("PixelSizeX = 0.0000001", None),
        ("Pixel size : see logbook page 12", None), ("Pixel Size : 12 um, page 3", None),
        ("Pixel Size : 1,250 nm", None), ("Pixel Size : 24.8 x 12.4 nm", None),
        ("Pixel Size : 0 nm", None), ("Pixel Size : -5 nm", None), ("Pixels : 24.8 nm", None),
        ("[Image Info]\nPixel Size : 24.8", None), ("$$SM_MICRON_BAR 0", None),
        ("[Image Info]\nFrame Size : 1280,960\nPixel Size : 0.0248", 0.0248),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_units_are_read_never_assumed(text, expected_um, encoding):
    size, problem = find_stated_size(read_sidecar(f"Operator : N.N.\n{text}\n".encode(encoding)))
    assert (size and size.value_um) == (expected_um and pytest.approx(expected_um))
    assert bool(problem) == (expected_um is None and "pixelsize" in text.lower().replace(" ", ""))


def test_a_stated_size_that_is_none_is_named_in_the_reason():
    with pytest.raises(FrameError, match="'Pixel Size : 1,250 nm', which is no length"):
        find(beside("Pixel Size : 1,250 nm\nOperator : N.N.\n"))


def test_sec_sidecars_count_the_pixels_of_the_scan():
    assert find(scan_sidecar(0.7)).value_um == pytest.approx(0.2625)


@pytest.mark.parametrize(
    ("shape", "expected_um", "flags"),
    [
        ((960, 1280), 0.05, ()),
        ((1024, 1280), 0.05, ()),  # databar added
        ((480, 640), 0.1, ("image_resized",)),  # a reduced copy
        ((700, 640), 0.05, ("image_resized",)),  # a crop
        ((1280, 960), 0.05, ()),  # turned
    ],
)
def test_an_image_of_another_size_than_its_metadata_describe(shape, expected_um, flags):
    sidecar = read_sidecar(write_vendor_sidecar("hitachi", (960, 1280), 0.05))
    found = find(KnownSizes(sidecar), np.zeros(shape, np.uint8))
    assert (found.value_um, found.flags) == (pytest.approx(expected_um), flags)


# sources that agree or not


def test_the_bar_is_used_where_it_is_finer_than_the_sidecar():
    found = find(scan_sidecar(0.7), *with_bar(0.2695))
    assert (found.source, found.flags) == ("scale_bar", ())
    assert found.value_um == pytest.approx(0.2695, rel=1e-3)
    assert found.other_um == pytest.approx(0.2625)


def test_metadata_is_used_where_it_is_finer_than_the_bar():
    found = find(beside("Pixel Size : 269.98 nm"), *with_bar(0.2695))
    assert (found.source, found.flags, found.value_um) == ("metadata", (), pytest.approx(0.26998))


def test_metadata_that_contradicts_the_bar_is_used_and_flagged():
    found = find(scan_sidecar(0.7), *with_bar(0.5))
    assert (found.source, found.flags) == ("metadata", ("pixel_size_conflict",))
    assert found.value_um == pytest.approx(0.2625)
    assert found.other_um == pytest.approx(0.5, rel=1e-3)


def test_the_bar_tells_a_crop_from_a_reduced_copy():
    sidecar = read_sidecar(write_vendor_sidecar("hitachi", (1920, 2560), 0.25))
    for truth_um in (0.25, 0.5):
        found = find(KnownSizes(sidecar), *with_bar(truth_um))
        assert found.value_um == pytest.approx(truth_um, rel=1e-3)
        assert "pixel_size_conflict" not in found.flags


def test_image_file_and_sidecar_that_contradict_each_other():
    known = KnownSizes(Sidecar({"": {"Pixel Size": "0.05 um"}}),
                       Sidecar({"": {"Pixel Size": "0.06 um"}}))  # fmt: skip
    found = find(known)
    assert (found.value_um, found.other_um) == (0.06, 0.05)
    assert found.flags == ("pixel_size_conflict",)


def test_the_frame_table_is_used_and_flagged_where_it_is_contradicted():
    known = beside("Pixel Size : 0.25 um", table_um=0.3)
    found = find(known)
    assert (found.value_um, found.source, found.other_um) == (0.3, "frame_table", 0.25)
    assert found.flags == ("pixel_size_conflict",)


def test_a_plain_resolution_comes_after_the_bar():
    embedded = read_embedded(png(GREY, dpi=(508_000, 508_000)))
    found = find(KnownSizes(embedded=embedded), *with_bar(0.25))
    assert (found.source, found.flags) == ("scale_bar", ("pixel_size_conflict",))
    assert find(KnownSizes(embedded=embedded)).value_um == pytest.approx(0.05, rel=1e-3)


def test_an_unreadable_bar_is_flagged():
    found = find(scan_sidecar(0.7), np.vstack([WIDE, np.zeros((64, 1280), np.uint8)]),
                 [slice(960, 1024)])  # fmt: skip
    assert (found.source, found.flags) == ("metadata", ("scale_bar_unreadable",))


# plausibility


@pytest.mark.parametrize(
    "text",
    [
        "Pixel Size : 24.8 um\nMagnification : x5000",  # nm meant
        "Pixel Size : 24.8 pm\nMagnification : x5000",
        "Pixel Size : 50 um",  # 64 mm wide
        "Pixel Size : 0.2 pm",
        "[SemImageFile]\nPixelSize=2.48\nMagnification=4000",  # an unwritten unit: 10x too small
    ],
)
def test_implausible_sizes_are_refused(text):
    with pytest.raises(FrameError, match=r"plausible|contradicts the magnification"):
        find(beside(text))
    found = find(beside(text), params=PixelSizeParams(fallback_um=0.025))
    assert (found.source, found.flags) == ("parameter", ("pixel_size_implausible",))


@pytest.mark.parametrize("print_mm", [101.6, 114.3, 127, 207, 277, 518, 690])
def test_magnifications_of_any_print_or_display_are_plausible(print_mm):
    text = f"Pixel Size : 50 nm\nMagnification : x{1000 * print_mm / (1280 * 0.05):.0f}"
    assert find(beside(text)).flags == ()


def test_a_small_frame_may_be_a_crop_of_a_scan():
    small = np.zeros((240, 320), np.uint8)
    text = "Pixel Size : 558.2 pm\nMagnification : x5000"
    found = find(beside(text), small)
    assert found.value_um == pytest.approx(5.582e-4)
    assert found.flags == ("magnification_conflict",)


def test_a_table_in_nm_is_refused():
    known = KnownSizes(table_um=50.0, magnification=5000)
    with pytest.raises(FrameError, match="50 um of frame_table, which contradicts"):
        find(known, np.zeros((240, 320), np.uint8))


# the parameter


@pytest.mark.parametrize(
    ("fallback_um", "class_name", "magnification", "expected_um"),
    [
        (0.4, "811", None, 0.4),
        ({811: 0.3, "811_cycled": 0.03}, "811", None, 0.3),
        ({811: 0.3, "811_cycled": 0.03}, "811_cycled", 5000, 0.03),
        ({811: 0.3}, "622", None, None),
        ({"x500": 0.3, "x5,000": 0.03}, "811", 5000, 0.03),
        ({"x500": 0.3}, "811", 5000, None),
        ({"x500": 0.3}, "811", None, None),
    ],
)
def test_fallback_by_class_or_magnification(fallback_um, class_name, magnification, expected_um):
    params = PixelSizeParams.model_validate({"fallback_um": fallback_um})
    known = KnownSizes(magnification=magnification, class_name=class_name)
    if expected_um is None:
        with pytest.raises(FrameError, match=r"frames\.csv.*fallback_um"):
            find(known, params=params)
    else:
        found = find(known, params=params)
        assert (found.value_um, found.source) == (expected_um, "parameter")


def test_the_advice_of_a_frame_without_pixel_size_works_as_it_is_written():
    with pytest.raises(FrameError) as caught:
        find()
    line = re.search(r"the line '(.+?)' with", caught.value.action)[1]
    reading = ReadingParams.model_validate(yaml.safe_load(line)["sem_ingest"]["reading"])
    assert find(params=reading.pixel_size).source == "parameter"


@pytest.mark.parametrize("value", [0, -1, {}, {"x500": 0.3, "811": 0.3}, {"811": 0}])
def test_fallbacks_that_make_no_sense_are_refused(value):
    with pytest.raises(ValidationError):
        PixelSizeParams.model_validate({"fallback_um": value})


@pytest.mark.real
def test_real_frames_are_0267_um_within_one_percent(real_frames_folder):
    files = sorted(real_frames_folder.glob("*/*.jpg"))[::20]
    assert len(files) > 30
    for file in files:
        found = read_micrograph(file.read_bytes(), ReadingParams(), where=file.name).pixel_size
        assert found.source == "scale_bar"
        assert found.value_um == pytest.approx(0.267, rel=0.01)
