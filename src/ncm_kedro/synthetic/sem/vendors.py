"""Look-alikes of what instruments write into and beside their files, for a known pixel size."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import tifffile
from numpy.typing import NDArray

_ASCII, _BYTE = 2, 1


def write_vendor_tiff(vendor: str, image_yx: NDArray[np.uint8], pixel_size_um: float) -> bytes:
    """Write a frame as TIFF with the private tag of an instrument.

    Parameters
    ----------
    vendor
        ``fei``, ``fei_sfeg``, ``zeiss`` or ``tescan``.
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
        "tescan": (50431, _describe_tescan(width, pixel_size_um)),
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
