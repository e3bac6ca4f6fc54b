"""What every reader of raw tomograms hands over, and the checks that all of them share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import TomogramError
from ncm_kedro.tomo.volume import Spacing, Triple

Region = tuple[slice, slice, slice]

_UM_PER_UNIT = {
    **dict.fromkeys(("m", "meter", "metre", "meters", "metres"), 1.0e6),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1.0e4),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1.0e3),
    **dict.fromkeys(("um", "µm", "μm", "\\u00b5m", "micron", "microns", "micrometer",
                     "micrometre", "micrometers"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometre", "nanometers"), 1.0e-3),
    **dict.fromkeys(("å", "a", "angstrom", "ångström"), 1.0e-4),
}  # fmt: skip


@dataclass(frozen=True)
class OpenedVolume:
    """A volume whose metadata was read, but no voxel.

    Attributes
    ----------
    shape_zyx
        Voxels along z, y, x.
    dtype
        Type in the file, with its byte order.
    read
        Reads a region; opens the file itself and pickles.
    voxel_size_um
        Along z, y, x; None where the file does not say.
    voxel_size_source
        What the voxel size was taken from, or what the file says instead.
    files
        All files that hold the volume.
    """

    shape_zyx: Triple
    dtype: np.dtype[Any]
    read: Callable[[Region], NDArray[Any]]
    voxel_size_um: Spacing | None
    voxel_size_source: str
    files: tuple[Path, ...]


def convert_to_um(length: float, unit: str | bytes | None) -> float | None:
    """Convert a length to micrometres.

    Parameters
    ----------
    length
        The length in its unit.
    unit
        Name or symbol of a unit of length, in any case.

    Returns
    -------
    float or None
        None where the unit is not known, or the length is not a positive number.
    """
    name = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit or "")
    factor = _UM_PER_UNIT.get(name.strip().lower())
    if factor is None or not math.isfinite(length) or length <= 0:
        return None
    return float(length) * factor


def join_spacing(sizes_um: Sequence[float | None]) -> Spacing | None:
    """Return three voxel edges as such, or None where one of them is not known."""
    depth, height, width = sizes_um
    if depth is None or height is None or width is None:
        return None
    return depth, height, width


def check_volume(source: Path, shape: Sequence[int], kind: np.dtype[Any]) -> Triple:
    """Check that an array can be a tomogram.

    Parameters
    ----------
    source
        For the message.
    shape
        As found in the file.
    kind
        As found in the file.

    Returns
    -------
    tuple of int
        Voxels along z, y, x.

    Raises
    ------
    TomogramError
        If it is empty, flat, has more than three axes, or holds no numbers.
    """
    text = " x ".join(str(n) for n in shape) or "a single number"
    if kind.kind not in "biuf" or kind.itemsize > 8:
        raise refuse_volume(source, f"values of type {kind}", "whole or real numbers",
                            "save the grey values as uint8, uint16 or float32")  # fmt: skip
    if 0 in shape:
        raise refuse_volume(source, f"an empty array ({text})")
    if len(shape) == 2:
        raise refuse_volume(
            source, f"a 2-D image ({text})",
            action=f"put all sections of the sample into one stack, or as files into one folder "
            f"{source.stem.split('.')[0]}/; one section alone is no volume, but can serve to "
            "train the detector",
        )  # fmt: skip
    if len(shape) != 3:
        raise refuse_volume(source, f"an array of {len(shape)} axes ({text})")
    if min(shape) == 1:
        axis = "zyx"[list(shape).index(1)]
        raise refuse_volume(source, f"a volume that is one voxel thin along {axis} ({text})")
    depth, height, width = (int(n) for n in shape)
    return depth, height, width


def refuse_volume(
    source: Path,
    found: str,
    expected: str = "a volume of grey values (z, y, x), at least two voxels along each axis",
    action: str = "export the reconstruction again as one grey volume per sample",
) -> TomogramError:
    """Make the error for an input that cannot be used."""
    return TomogramError(source, found=found, expected=expected, action=action)


def drop_unit_axes(shape: Sequence[int]) -> tuple[int, ...]:
    """Drop axes of length 1 from the front until three are left."""
    kept = list(shape)
    while len(kept) > 3 and 1 in kept[:-3]:
        kept.remove(1)
    return tuple(int(n) for n in kept)
