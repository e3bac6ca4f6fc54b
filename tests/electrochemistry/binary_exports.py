"""Binary exports written field by field, as the libraries that read them lay them out."""

import struct

import numpy as np

STATUS = {1: 1, -1: 2, 0: 4}  # Neware: constant-current charge and discharge, rest


def write_mpr(series, columns=(4, 6, 76, 24)):
    """A Biologic .mpr: time/s, Ewe/V, <I>/mA and cycle number in the columns' layout."""
    kinds = {4: ("time_s", "<f8"), 6: ("voltage_v", "<f4"), 76: ("current_ma", "<f4"),
             24: ("cycle", "<f8")}  # fmt: skip
    dtype = np.dtype([kinds[number] for number in columns])
    data = np.zeros(len(series), dtype)
    for name in dtype.names:
        data[name] = series[name]
    head = struct.pack("<IB", len(series), len(columns)) + struct.pack(
        f"<{len(columns)}H", *columns
    )
    modules = (
        ("VMP Set", 0, b"\x00" * 16),
        ("VMP data", 2, head.ljust(405, b"\x00") + data.tobytes()),
    )
    content = b"BIO-LOGIC MODULAR FILE\x1a".ljust(48) + b"\x00" * 4
    for name, version, body in modules:
        content += b"MODULE" + name.encode().ljust(10) + name.encode().ljust(25)
        content += struct.pack("<II", len(body), version) + b"01/15/24" + body
    return content


def write_nda(series, step_time_s, step):
    """A Neware .nda of version 29: records of 86 bytes, the current in units of 1e-4 mA."""
    content = bytearray(b"NEWARE".ljust(2400, b"\x01"))
    content[14] = 29
    content += b"\x00\x00\x00\x00"
    rows = zip(series["current_ma"], series["voltage_v"], series["cycle"], step_time_s, step,
               strict=True)  # fmt: skip
    for number, (current_ma, voltage_v, cycle, time_s, step_number) in enumerate(rows, start=1):
        record = bytearray(86)
        record[0:2] = b"\x55\x00"
        status = STATUS[int(np.sign(current_ma))]
        record[2:13] = struct.pack("<IIHB", number, int(cycle) - 1, int(step_number), status)
        record[14:30] = struct.pack(
            "<Qii", round(time_s * 1000), round(voltage_v * 1e4), round(current_ma * 1e4)
        )
        record[70:77] = struct.pack("<HBBBBB", 2024, 1, 15, 0, 0, 0)
        record[78:82] = struct.pack("<i", 1)  # range whose unit of current is 1e-4 mA
        content += record
    return bytes(content)
