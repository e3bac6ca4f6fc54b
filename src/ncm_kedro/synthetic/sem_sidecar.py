"""Sidecar files in the format of the vendor's software, spelling mistakes included."""

from __future__ import annotations

from datetime import datetime

from ncm_kedro.synthetic.sem_acquisition import Recording

_TEMPLATE = """\
[Image Info]
Model : SNE-4500M Plus
Date : {date}
Time : {time}
File Name : {path}
Discription : Tabletop SEM
Acceleated Voltage :  {voltage:g} kV
Magnification : x{magnification:g}\x20
Emission Current : {r.emission_ua}uA
Detector Mode : SED
Vacuum Mode : High Vacuum
Scan Speed :\x20
[Running Info]
Focus : {r.focus}
Magnification : x{magnification:g}\x20
Scan Rotaion : 0°
[   - Image Process]
Brightness : {r.brightness}
Contrast : {r.contrast}
[   - Detector]
Detector : {r.detector}
Collector : {r.collector}
[   - Spot Size]
Spot Size : {r.spot_size}
[   - Working Distance]
Default Working Distance : 0mm
Working Distance : 5mm
[   - Stig]
Stig X : {r.stig_x}
Stig Y : {r.stig_y}
[   - Gun Align]
GA X : {r.gun_align}
GA Y : {r.gun_align}
[   - Beam Shift]
BS X : 0
BS Y : 0
[Config Info]
Alias :  {voltage:g} kV
[   - Accelerated Voltage]
Anode : 167
Filament : 168
Filament Current: {filament:.12g}
Grid : 129
[   - CL]
CL1 Val : {r.spot_size}
CL1 Max : 160
CL1 Min : 50
CL2 Val : 250
CL2 Max : 255
CL2 Min : 0
[   - Focus]
OL1 Val : {r.focus}
OL1 Max : 4095
OL1 Min : 0
OL2 Val : 1344
OL2 Max : 2678
OL2 Min : 0
[   - Stig]
XAB : 30
XCD : 40
XFreq : 0
XAmpl : 0
XWobble : False
YAB : -25
YCD : 25
YFreq : 0
YAmpl : 0
YWobble : False
[   - Rotation]
Scan Rotation : -68250
BeamShift Rotation : 1084
[Active Scan]
Channel : 0
Bipolra : True
Sampling Speed : 5.42534722222222
Image Level : 10,-10
Sample Average : 1
Scan Signal Level : 10,-10
Frame Average : 1
Blur Level : 0
Image Size : 480,480
Paint Area : 1,0.75
ImmediatePaint : True
Frame Size : 480,480
Image Area : 0,0,1,0.75
Pixel Size : {scan_pixel_um:.3g}
"""

SCAN_PIXELS = 480
"""Pixels that the vendor's frame is scanned with, before it is enlarged for saving."""


def write_korean_date(moment: datetime) -> str:
    """Return a moment as Korean Windows writes it: ``2019-09-02 오전 12:09:36``."""
    half = "오전" if moment.hour < 12 else "오후"
    return f"{moment:%Y-%m-%d} {half} {moment.hour % 12 or 12}:{moment:%M:%S}"


def write_sidecar(
    path: str,
    acquired_at: datetime,
    recording: Recording,
    *,
    width_px: int,
    pixel_size_um: float,
    filament_ua: float,
    voltage_kv: float = 20.0,
    magnification: float = 500.0,
) -> bytes:
    r"""Return the text file that the vendor's software puts beside a frame.

    Parameters
    ----------
    path
        Windows path of the frame at the time of saving.
    acquired_at
        Written as Korean date and as time to 100 ns.
    recording
        Settings of the session.
    width_px, pixel_size_um
        Of the saved frame. As with the vendor, the ``Pixel Size`` that is written is that of the
        480-px scan: `pixel_size_um` times `width_px` / 480.
    filament_ua, voltage_kv, magnification
        Written as they are.

    Returns
    -------
    bytes
        UTF-8 with ``\r\n``, sections in brackets, keys that repeat across sections.
    """
    text = _TEMPLATE.format(
        date=write_korean_date(acquired_at),
        time=f"{acquired_at:%H:%M:%S.%f}0",
        path=path,
        voltage=voltage_kv,
        magnification=magnification,
        r=recording,
        filament=filament_ua,
        scan_pixel_um=pixel_size_um * width_px / SCAN_PIXELS,
    )
    return text.replace("\n", "\r\n").encode("utf-8")


def garble_sidecar(sidecar: bytes) -> bytes:
    """Return a sidecar as a crashed transfer leaves it: no separators, wrong encoding, cut off."""
    text = sidecar.decode("utf-8").replace(" :", "").replace("[", "").replace("]", "")
    return b"\x00\xff" + text.replace("\r\n", "\n").encode("cp949", "replace")[: len(sidecar) // 4]
