"""The voxel size in the metadata of an HDF5 file: the sample's, never the camera's."""

from __future__ import annotations

import re
from collections.abc import Sequence

import h5py
import numpy as np

from ncm_kedro.datasets.tomograms.notes import (
    assume_cubes,
    convert_to_um,
    join_spacing,
)
from ncm_kedro.tomo.volumes.volume import CUBES, Spacing
from ncm_kedro.units import parse_length_um

_SIZE_NAMES = {
    axis: (f"{axis}_voxel_size", f"voxel_size_{axis}", "voxel_size",
           f"{axis}_effective_pixel_size", f"effective_pixel_size_{axis}", "effective_pixel_size",
           f"actual_pixel_size_{axis}", "actual_pixel_size", f"{axis}_sample_pixel_size",
           "sample_pixel_size", f"{axis}_pixel_size", f"pixel_size_{axis}", "pixel_size",
           "resolution")
    for axis in "zyx"
}  # fmt: skip
_OF_THE_SAMPLE = ("voxel", "effective", "actual", "sample")
_CAMERA = re.compile(r"detector|camera|ccd|cmos|sensor|scintillator")
_UNITS = ("m", "cm", "mm", "um", "nm")
_OBJECTIVE = "objective/resolution"  # APS: the effective pixel of the objective in use


def find_voxel_size(
    chosen: h5py.Dataset, items: dict[str, h5py.Dataset]
) -> tuple[Spacing | None, str]:
    """Find the voxel size of a data set.

    Parameters
    ----------
    items
        All data sets of the file by path.

    Returns
    -------
    spacing, source
        Along z, y, x (um), None where it is not clear; where it stands, or what stands instead.
    """
    for name in chosen.attrs:
        kind, unit = _split_unit(name)
        if kind in ("element_size", "voxel_size") and unit:
            sizes = np.broadcast_to(np.asarray(chosen.attrs[name], np.float64).ravel(), 3)
            return join_spacing([convert_to_um(s, unit) for s in sizes]), f"attribute {name}"
    spacing, source = _find_axes(chosen)
    if spacing is not None:
        return spacing, source
    found: list[float | None] = []
    places, camera = [], ""
    for axis in "zyx":
        size, place, of_camera = _find_size(items, _SIZE_NAMES[axis])
        found.append(size)
        places.append(place)
        camera = of_camera or camera
    unusable = [place for size, place in zip(found, places, strict=True) if size is None and place]
    if unusable:
        return None, unusable[0]
    spacing, source = assume_cubes(found, places[-1])
    if spacing is not None and len(set(places)) == 1 and "voxel" not in source:
        source = f"{source}; no size along z, {CUBES}"
    if spacing is None and camera:
        return None, f"{camera} is the pixel of the camera, not of the sample"
    return spacing, source or "neither attributes nor data sets of a pixel size with a unit"


def _find_axes(chosen: h5py.Dataset) -> tuple[Spacing | None, str]:
    """Find evenly spaced coordinates beside a data set, as NXdata has them."""
    sizes: list[float | None] = []
    for axis, length in zip("zyx", chosen.shape[-3:], strict=True):
        item = chosen.parent.get(axis)
        if not isinstance(item, h5py.Dataset) or item.shape != (length,) or length < 2:
            return None, ""
        steps = np.diff(np.asarray(item[()], dtype=np.float64))
        if not np.allclose(steps, steps.mean(), rtol=1e-3, atol=0):
            return None, ""
        sizes.append(convert_to_um(abs(float(steps.mean())), _read_unit(item)))
    return join_spacing(sizes), f"coordinates z, y, x in {chosen.parent.name}"


def _find_size(
    items: dict[str, h5py.Dataset], names: Sequence[str]
) -> tuple[float | None, str, str]:
    """Find a size by the first name that is there; the pixel of a camera is none.

    Returns
    -------
    size, place, camera
        Size (um) and where it stands, or None and why none can be used; where a size of the camera
        stands.
    """
    camera = unusable = ""
    for name in names:
        known: dict[str, float] = {}
        for place in sorted(items):
            kind, unit = _split_unit(place.rpartition("/")[2])
            if kind != name or not _is_length(items[place]):
                continue
            if name == "resolution" and not place.endswith(_OBJECTIVE):
                continue
            size = _read_um(items[place], unit)
            if size is None:
                unusable = unusable or f"{place} has no unit of length"
                continue
            named_so = any(word in name for word in _OF_THE_SAMPLE)
            if _CAMERA.search(place.lower()) and not named_so and name != "resolution":
                camera = f"{size:.4g} um at {place}"
            else:
                known[place] = size
        if known and max(known.values()) > 1.01 * min(known.values()):
            listed = "; ".join(f"{size:.4g} um at {place}" for place, size in known.items())
            return None, f"more than one pixel size: {listed}", camera
        if known:
            place, size = next(iter(known.items()))
            return size, place, camera
    return None, unusable, camera


def _read_unit(item: h5py.Dataset) -> str | None:
    unit = next((item.attrs[name] for name in ("units", "unit") if name in item.attrs), None)
    one = np.ravel(unit)[0] if isinstance(unit, np.ndarray) and unit.size else unit
    return one.decode(errors="replace") if isinstance(one, bytes) else one


def _split_unit(name: str) -> tuple[str, str | None]:
    """Split ``voxelSize_nm`` or ``voxel_size_nm`` into ``voxel_size`` and its unit, if any."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])|[ -]+", "_", name).lower()
    kind, _, unit = plain.rpartition("_")
    return (kind, unit) if unit in _UNITS else (plain, None)


def _is_length(item: h5py.Dataset) -> bool:
    if item.dtype.kind in "OS":
        return bool(item.size == 1)
    return item.dtype.kind in "iuf" and item.size and np.ptp(np.ravel(item[()])) == 0


def _read_um(item: h5py.Dataset, unit: str | None) -> float | None:
    """Read a length (um) that is a number, all the same numbers, or a text such as ``70 nm``."""
    value = np.ravel(item[()])[0]
    unit = unit or _read_unit(item)
    if item.dtype.kind in "OS":
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        return parse_length_um(text, unit)
    return convert_to_um(float(value), unit)
