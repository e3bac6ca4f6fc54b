"""Look-alikes of what instruments write into and beside their files, for a known pixel size."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_ASCII, _BYTE = 2, 1


def write_vendor_tiff(vendor: str, image_yx: NDArray[np.uint8], pixel_size_um: float) -> bytes:
    """Write a frame as TIFF with the private tag of an instrument.

    Parameters
    ----------
    vendor
        ``fei``, ``fei_sfeg``, ``zeiss``, ``zeiss_display`` (older: no size of the image's own
        pixels), ``tescan``, ``phenom`` or ``fibics`` (Zeiss Atlas).
    image_yx
        The frame, ``(H, W)``.
    pixel_size_um
        Edge of a pixel (um); the tags also hold wrong ones, of the display or the other beam.
    """
    height, width = image_yx.shape
    code, text = {
        "fei": (34682, _describe_fei(width, height, pixel_size_um)),
        "fei_sfeg": (34680, _describe_fei(width, height, pixel_size_um)),
        "zeiss": (34118, _describe_zeiss(width, height, pixel_size_um)),
        "zeiss_display": (34118, _describe_zeiss_display(width, height, pixel_size_um)),
        "tescan": (50431, _describe_tescan(width, pixel_size_um)),
        "phenom": (34683, describe_phenom(pixel_size_um)),
        "fibics": (51023, _describe_fibics(width, height, pixel_size_um)),
    }[vendor]
    tag = (code, _BYTE if vendor == "tescan" else _ASCII, len(text), text, True)
    return write_tiff(image_yx, extratags=[tag], resolution=(96, 96), resolutionunit="INCH")


def write_tiff(image_yx: NDArray[np.uint8], **options: object) -> bytes:
    """Write a frame ``(H, W)`` as TIFF; the options are those of ``tifffile.imwrite``."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image_yx, **options)
    return buffer.getvalue()


def write_vendor_sidecar(
    vendor: str, shape: tuple[int, int], pixel_size_um: float, **changes: str
) -> bytes:
    """Write the text file that an instrument puts beside a frame.

    Parameters
    ----------
    vendor
        ``hitachi`` or ``jeol`` (``.txt``), or ``tescan`` (``.hdr``).
    shape
        Height and width of the frame (px).
    changes
        Values of fields in place of the usual ones.
    """
    height, width = shape
    fields: Mapping[str, str]
    if vendor == "tescan":
        return b"[MAIN]\r\n" + _describe_tescan(width, pixel_size_um).rpartition(b"\x00")[2]
    if vendor == "hitachi":
        fields = {
            "InstructName": "S-4800",
            "DataSize": f"{width}x{height}",
            "PixelSize": f"{1000 * pixel_size_um:.7g}",
            "AcceleratingVoltage": "15000 Volt",
            "Magnification": f"{_magnify(width, pixel_size_um):.0f}",
            "WorkingDistance": "8100 um",
            "MicronMarker": "10000",
        }
        lines = [f"{key}={value}" for key, value in {**fields, **changes}.items()]
        return "\r\n".join(["[SemImageFile]", *lines]).encode()
    bar_px = round(100 / pixel_size_um)
    fields = {
        "$CM_FORMAT": "JEOL-SEM",
        "$CM_ACCEL_VOLT": "7.00",
        "$CM_MAG": f"{_magnify(width, pixel_size_um):.0f}",
        "$CM_FULL_SIZE": f"{width} {height}",
        "$CM_DATE": "2020/08/31",
        "$CM_TIME": "15:32:31",
        "$CM_INSTRUMENT": "8530F",
        "$$SM_MICRON_BAR": f"{bar_px}",
        "$$SM_MICRON_MARKER": f"{bar_px * pixel_size_um:.0f}um",
        "$AN_TEXT%0": '5.0 874.0 215.0 910.0 "X:" "Courier New" 0 32.0 16777215',
    }
    return "\n".join(f"{key} {value}" for key, value in {**fields, **changes}.items()).encode()


def _magnify(width: int, pixel_size_um: float) -> float:
    """Magnification to a print 127 mm wide."""
    return 127_000 / (width * pixel_size_um)


def _describe_fei(width: int, height: int, pixel_size_um: float) -> bytes:
    edge = f"{pixel_size_um * 1e-6:.6g}"
    lines = (
        "[User]", "Date=06/13/2016", "[System]", "SystemType=Helios NanoLab", "DisplayWidth=0.518",
        "[Beam]", "HV=5000", "Beam=EBeam", "[EBeam]", "HV=5000", "WD=0.004",
        "[Scan]", "InternalScan=true", f"PixelWidth={edge}", f"PixelHeight={edge}",
        "[IScan]", "PixelWidth=1e-03",
        "[Image]", f"ResolutionX={width}", f"ResolutionY={height}",
        "[PrivateFei]", "DatabarHeight=0", "TimeOfCreation=13.06.2016 17:06:40",
    )  # fmt: skip
    return "\r\n".join(lines).encode()


def _describe_zeiss(width: int, height: int, pixel_size_um: float) -> bytes:
    unit, scale = next(
        (unit, scale)
        for unit, scale in (("pm", 1e-6), ("nm", 1e-3), ("µm", 1.0))
        if pixel_size_um / scale < 1000
    )
    edge = pixel_size_um / scale
    pairs = (
        ("DP_IMAGE_STORE", f"Store resolution = {width} * {height}"),
        ("DP_SEM", "Sem = Merlin"),
        ("AP_MAG", f"Mag =    {_magnify(width, pixel_size_um) / 1000:.2f} K X"),
        ("AP_PIXEL_SIZE", f"Pixel Size = {2 * edge:.4g} {unit}"),
        ("AP_FIB_PIXEL_SIZE", "FIB Pixel Size = 0.0 fm"),
        ("AP_IMAGE_PIXEL_SIZE", f"Image Pixel Size = {edge:.4g} {unit}"),
        ("AP_MANUALKV", "EHT Target = 9.00 kV"), ("AP_ACTUALKV", "EHT = 5.00 kV"),
        ("AP_DATE", "Date :23 Dec 2015"), ("AP_TIME", "Time :9:40:32"),
    )  # fmt: skip
    header = ("0", "0", "0", f"{edge * scale * 2e-6:.6e}", "5.000000e+03")
    lines = (*header, *(line for pair in pairs for line in pair))
    return "\r\n".join(lines).encode("cp1252")


def _describe_zeiss_display(width: int, height: int, pixel_size_um: float) -> bytes:
    """Pixels of a display 1024 px wide that shows the whole field."""
    pairs = (
        ("AP_MAG", f"Mag = {_magnify(width, pixel_size_um) / 1000:.2f} K X"),
        ("AP_PIXEL_SIZE", f"Pixel Size = {pixel_size_um * width / 1024:.4g} um"),
        ("AP_WIDTH", f"Width = {pixel_size_um * width:.4g} um"),
        ("AP_HEIGHT", f"Height = {pixel_size_um * height:.4g} um"),
    )
    return "\r\n".join(["0", *(line for pair in pairs for line in pair)]).encode("cp1252")


def describe_phenom(pixel_size_um: float) -> bytes:
    """Write the XML that Phenom puts into a TIFF tag, or behind the pixels of a JPEG."""
    edge = f'unit="nm">{1000 * pixel_size_um:.7g}<'
    return (
        '<?xml version="1.0"?><FeiImage version="1"><databarHeight>64</databarHeight>'
        f"<pixelWidth {edge}/pixelWidth><pixelHeight {edge}/pixelHeight>"
        "<instrument><type>Phenom</type></instrument></FeiImage>"
    ).encode()


def _describe_fibics(width: int, height: int, pixel_size_um: float) -> bytes:
    return (
        f'<Fibics version="1.0"><Image><Width>{width}</Width><Height>{height}</Height>'
        f'<Machine>AURIGA</Machine></Image><Scan><Dwell units="ns">1000</Dwell>'
        f'<FOV_X units="um">{width * pixel_size_um:.9g}</FOV_X><ScanRot units="deg">30</ScanRot>'
        f"<Ux>{0.866 * pixel_size_um:.6g}</Ux></Scan></Fibics>"
    ).encode()


def _describe_tescan(width: int, pixel_size_um: float) -> bytes:
    edge = f"{pixel_size_um * 1e-6:.5g}"
    lines = (
        "AccFrames=1", "Date=2016-05-16", "Device=MIRA3 XMU", "ImageStripSize=0",
        f"Magnification={_magnify(width, pixel_size_um):.5g}", f"PixelSizeX={edge}",
        f"PixelSizeY={edge}", "Time=16:03:27",
        "HV=10.0000e3",
    )  # fmt: skip
    thumbnail = bytes(range(256)) * 2
    return b"Y\x14\x00\x00" + thumbnail + b"\x1d\x01\x00\x00\x02\x00" + "\r\n".join(lines).encode()


_LENGTHS_UM = tuple(
    digit * 10.0**power for power in range(3, -4, -1) for digit in (5, 2, 1)
)  # from 5 mm down to 1 nm
_LAYOUTS = {
    # rows, background, print, of the width that the bar may take at most
    "fei": (64, 0, 255, 0.3),
    "zeiss": (77, 255, 0, 0.2),
    "tescan": (120, 96, 255, 0.25),
    "jeol": (64, 0, 255, 0.15),
    "hitachi": (64, None, 255, 0.42),
}


def draw_vendor_bar(
    vendor: str,
    background_yx: NDArray[np.uint8],
    pixel_size_um: float,
    *,
    font: str = "DejaVuSans.ttf",
    font_px: int = 20,
    label: str | None = None,
) -> tuple[NDArray[np.uint8], float]:
    """Draw the lowest rows of a frame with the scale bar of an instrument, and a working distance.

    Parameters
    ----------
    vendor
        ``fei`` (cells; the label stands between two halves), ``zeiss`` (framed, white; the label
        stands above), ``tescan`` (cells, grey; a ruler), ``jeol`` (filled; the label stands
        beside) or ``hitachi`` (eleven ticks, drawn into the image).
    background_yx
        Recorded image ``(64, W)`` below the ticks of ``hitachi``; of others only the width counts.
    font, font_px
        File of matplotlib's font folder, and its size.
    label
        Printed in place of the length.

    Returns
    -------
    rows_yx, length_um
        Grey values ``(rows, W)``, and the length of the bar.
    """
    rows, grey, ink, fraction = _LAYOUTS[vendor]
    width = background_yx.shape[1]
    length_um = next(um for um in _LENGTHS_UM if um / pixel_size_um <= fraction * width)
    length_px = length_um / pixel_size_um
    image = Image.new("L", (width, rows), grey) if grey is not None else (
        Image.fromarray(background_yx[:rows].copy())
    )  # fmt: skip
    pen = ImageDraw.Draw(image)
    face = ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / font, font_px)
    text = label or _print_length(length_um, vendor)
    text_px = round(pen.textlength(text, font=face))
    x = 24 if vendor == "zeiss" else round(width * 0.55)
    end = x + round(length_px)

    def write(at_x: float, at_y: float, words: str) -> None:
        pen.text((at_x, at_y), words, fill=ink, font=face)

    if vendor == "fei":
        for line in ((0, 0, width, 0), (0, 32, width, 32), (x - 20, 0, x - 20, rows)):
            pen.line(line, fill=ink)
        middle = (x + end) / 2
        pen.rectangle((x, 15, middle - text_px / 2 - 8, 17), fill=ink)
        pen.rectangle((middle + text_px / 2 + 8, 15, end, 17), fill=ink)
        pen.line((x, 13, x, 19), fill=ink)
        pen.line((end, 13, end, 19), fill=ink)
        write(middle - text_px / 2, 16 - 0.6 * font_px, text)
        write(x - 140, 34, "4.0 mm")
    elif vendor == "zeiss":
        pen.rectangle((2, 1, width - 1, rows - 2), outline=ink)
        pen.rectangle((x, 40, end, 41), fill=ink)
        for tick in (x, end):
            pen.line((tick, 30, tick, 52), fill=ink, width=2)
        write(x, 4, text)
        write(0.4 * width, 4, "WD = 5.0 mm")
    elif vendor == "tescan":
        pen.line((0, 40, x, 40), fill=170)
        pen.line((x, 0, x, rows), fill=170)
        pen.rectangle((x, 39, end, 40), fill=ink)
        for step in range(11):
            tick = x + step * (end - x) / 10
            pen.line((tick, 0 if step in (0, 10) else 18, tick, 40), fill=ink)
        write(x + 10, 46, text)
        write(20, 46, "WD: 13.25 mm")
    elif vendor == "jeol":
        pen.rectangle((x, 4, end, 16), fill=ink)
        write(end + 50, 2, text)
        write(end + 50, 34, "WD 10.5mm")
    else:
        for step in range(11):
            tick = round(x + step * (end - x) / 10)
            pen.rectangle((tick - 1, 8, tick + 1, 22), fill=ink)
        write(end - text_px - 10, 28, text)
        write(10, 28, "10.0kV 14.4mm x1.00k SE(M)")
    return np.asarray(image, dtype=np.uint8).copy(), length_um


def _print_length(length_um: float, vendor: str) -> str:
    """Print a length as the instrument does."""
    scale, unit = next(
        (scale, unit) for scale, unit in ((1e3, "mm"), (1.0, "um"), (1e-3, "nm"))
        if length_um >= scale
    )  # fmt: skip
    value = length_um / scale
    if vendor == "hitachi":
        return f"{value:.3g}" + ("" if value >= 100 else ".0" if value >= 10 else ".00") + unit
    unit = unit.replace("u", "µ")
    return f"{value:g}{unit}" if vendor == "jeol" else f"{value:g} {unit}"
