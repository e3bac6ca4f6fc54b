"""Projections in HDF5: NXtomo and other NeXus files with image keys, and dxchange."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ncm_kedro.datasets.projections.opened import OpenedDistance, ScanNotes, make_scan_error
from ncm_kedro.holo.scan import DistanceScan
from ncm_kedro.units import natural_key

HDF5_SUFFIXES = (".nx", ".nxs", ".h5", ".hdf5", ".hdf")

_PROJECTION, _FLAT, _DARK = 0, 1, 2
_PER_KEV = {"kev": 1.0, "ev": 1e-3, "j": 1 / 1.602176634e-16, "joule": 1 / 1.602176634e-16}
_PER_UM = {"m": 1e6, "meter": 1e6, "metre": 1e6, "mm": 1e3, "millimeter": 1e3, "cm": 1e4,
           "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "micron": 1.0, "microns": 1.0,
           "micrometer": 1.0, "nm": 1e-3, "nanometer": 1e-3}  # fmt: skip
_TURN_RAD = 6.5  # angles without a unit within this range may be radians
_SQUARE = 1e-3
_DEEPEST = 4  # virtual data sets of virtual data sets
_UM_PER_MM = 1e3


@dataclass(frozen=True)
class Hdf5Frames:
    """Reads frames of a data set by number."""

    path: Path
    dataset: str

    def __call__(self, numbers: NDArray[np.intp]) -> NDArray[Any]:
        """Read the frames; HDF5 wants rising numbers."""
        importlib.import_module("hdf5plugin")
        order, back = np.unique(numbers, return_inverse=True)
        with h5py.File(self.path, "r", locking=False) as file:
            return np.asarray(file[self.dataset][order])[back]


def open_hdf5_scans(path: Path, notes: ScanNotes) -> list[OpenedDistance]:
    """Open the projections of a file: one distance an entry.

    Raises
    ------
    TomogramError
        If the file is damaged or holds no projections.
    """
    importlib.import_module("hdf5plugin")
    try:
        with h5py.File(path, "r", locking=False) as file:
            if "exchange/data" in file:
                return [_open_dxchange(path, file, notes)]
            keys = _list_image_keys(file)
            found = [_open_entry(path, file, key, notes) for key in keys]
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise make_scan_error(
            path,
            f"a damaged or unknown file ({error})",
            "an intact HDF5 file",
            "copy it again, with the files that it links to",
        ) from error
    if not found:
        raise make_scan_error(path, "neither image keys (NXtomo) nor /exchange/data (dxchange)")
    return found


def _list_image_keys(file: h5py.File) -> list[str]:
    """List the image keys that stand beside a stack of images of the same number.

    ``image_key_control`` is preferred: it marks images for alignment after the scan.
    """
    found: dict[str, str] = {}

    def visit(name: str, item: object) -> None:
        folder, _, leaf = name.rpartition("/")
        if leaf in ("image_key", "image_key_control") and isinstance(item, h5py.Dataset):
            data = _get(file, f"{folder}/data")
            if data is not None and data.ndim == 3 and len(data) == item.size:
                found[folder] = max(found.get(folder, ""), name)

    file.visititems(visit)
    return [found[folder] for folder in sorted(found, key=natural_key)]


def _open_entry(path: Path, file: h5py.File, key_path: str, notes: ScanNotes) -> OpenedDistance:
    keys = np.asarray(file[key_path]).ravel()
    detector = key_path.rpartition("/")[0]
    entry = detector.removesuffix("/detector").removesuffix("/instrument")
    frames = np.flatnonzero(keys == _PROJECTION)
    if not len(frames):
        raise make_scan_error(path, f"no frame with the key {_PROJECTION} in {key_path}",
                              "projections among the frames")  # fmt: skip
    data = file[f"{detector}/data"]
    angles = _find_angles(path, file, entry, len(keys), notes)
    instrument = f"{entry}/instrument"
    _check_square(path, file, detector)
    source = _length(file, f"{instrument}/source/distance")
    return OpenedDistance(
        scan=DistanceScan(
            source=f"{path}:{entry}",
            read=Hdf5Frames(path, f"{detector}/data"),
            frames=frames,
            flat_frames=np.flatnonzero(keys == _FLAT),
            dark_frames=np.flatnonzero(keys == _DARK),
        ),
        shape_yx=(int(data.shape[1]), int(data.shape[2])),
        angles_deg=None if angles is None else angles[frames],
        files=(path, *_list_files(path, data)),
        energy_kev=_energy(
            file,
            f"{instrument}/beam/incident_energy",
            f"{entry}/beam/incident_energy",
            f"{instrument}/beam/energy",
        ),
        focus_sample_mm=None if source is None else abs(source) / _UM_PER_MM,
        sample_detector_mm=_scale(_length(file, f"{detector}/distance"), 1 / _UM_PER_MM),
        detector_pixel_um=_length(file, f"{detector}/x_pixel_size"),
        sample_pixel_um=_length(file, f"{entry}/sample/x_pixel_size"),
    )


def _check_square(path: Path, file: h5py.File, detector: str) -> None:
    width, height = (_length(file, f"{detector}/{axis}_pixel_size") for axis in "xy")
    if width and height and abs(width / height - 1) > _SQUARE:
        raise make_scan_error(
            path, f"pixels of {width:.4g} x {height:.4g} um in {detector}", "square pixels",
            "bin the frames alike along both axes, and correct x_pixel_size and y_pixel_size",
        )  # fmt: skip


def _find_angles(
    path: Path, file: h5py.File, entry: str, count: int, notes: ScanNotes
) -> NDArray[np.float64] | None:
    if notes.angles_deg is not None:
        return None
    wanted = notes.angles_path or f"{entry}/sample/rotation_angle"
    item = _get(file, wanted)
    if item is None:
        if notes.angles_path:
            raise make_scan_error(path, f"no data set {notes.angles_path}", "the angles there",
                                  "correct `angles_path` in the scan's .yml")  # fmt: skip
        return None
    if item.size != count:
        raise make_scan_error(
            path, f"{item.size} angles of {count} frames in {wanted}", "one angle a frame",
            "name the angles by `angles_path`, or give `angles_deg: [first, last]`",
        )  # fmt: skip
    return _read_degrees(path, item)


def _open_dxchange(path: Path, file: h5py.File, notes: ScanNotes) -> OpenedDistance:
    group = file["exchange"]
    count, height, width = group["data"].shape
    theta = _get(file, notes.angles_path or "exchange/theta")
    if notes.angles_deg is not None:
        theta = None
    elif theta is not None and theta.size != count:
        raise make_scan_error(path, f"{theta.size} angles of {count} projections",
                              "one angle a projection", "correct exchange/theta")  # fmt: skip
    for name in ("data_white", "data_dark"):
        if name in group and group[name].shape[1:] != (height, width):
            raise make_scan_error(
                path, f"frames of {group[name].shape[1:]} px in {name}", f"{height} x {width} px",
                "supply flats and darks that were taken with the frame of the projections",
            )  # fmt: skip

    def number(name: str) -> NDArray[np.intp]:
        return np.arange(len(group[name]) if name in group else 0)

    stacks = [group[name] for name in ("data", "data_white", "data_dark") if name in group]
    return OpenedDistance(
        scan=DistanceScan(
            source=str(path),
            read=Hdf5Frames(path, "exchange/data"),
            frames=np.arange(count),
            flat_frames=number("data_white"),
            dark_frames=number("data_dark"),
            read_flats=Hdf5Frames(path, "exchange/data_white"),
            read_darks=Hdf5Frames(path, "exchange/data_dark"),
        ),
        shape_yx=(height, width),
        angles_deg=None if theta is None else _read_degrees(path, theta),
        files=(path, *(file for item in stacks for file in _list_files(path, item))),
        energy_kev=_energy(file, "measurement/instrument/monochromator/energy"),
        sample_detector_mm=_scale(
            _length(file, "measurement/instrument/detector/distance"), 1 / _UM_PER_MM
        ),
        detector_pixel_um=_length(file, "measurement/instrument/detector/pixel_size_x"),
    )


def _get(file: h5py.File, path: str) -> h5py.Dataset | None:
    try:
        item = file[path]
    except (KeyError, OSError):
        return None
    return item if isinstance(item, h5py.Dataset) else None


def _unit(item: h5py.Dataset) -> str:
    unit = item.attrs.get("units", item.attrs.get("unit", ""))
    return (unit.decode() if isinstance(unit, bytes) else str(unit)).strip().lower()


def _read_degrees(path: Path, item: h5py.Dataset) -> NDArray[np.float64]:
    angles = np.asarray(item, np.float64).ravel()
    if not _unit(item) and 1 < np.ptp(angles) < _TURN_RAD:
        raise make_scan_error(
            path, f"angles from {angles.min():.4g} to {angles.max():.4g} without a unit in "
            f"{item.name}: degrees or radians", "the attribute `units` beside them, deg or rad",
            "add it, or give `angles_deg: [first, last]` in the scan's .yml",
        )  # fmt: skip
    return np.rad2deg(angles) if _unit(item).startswith("rad") else angles


def _list_files(path: Path, item: h5py.Dataset, depth: int = 0) -> list[Path]:
    """List the files that a data set lies in, through links and virtual data sets.

    HDF5 reads zeros where the source of a virtual data set is missing.
    """
    own = Path(item.file.filename)
    files = [own]
    named = [name for name, _, _ in item.external or ()]
    sources = item.virtual_sources() if item.is_virtual and depth < _DEEPEST else []
    for name in (*named, *(source.file_name for source in sources)):
        place = own if name == "." else own.parent / name
        if not place.is_file():
            raise make_scan_error(
                path, f"{item.name} is put together from {place}, which is not there",
                "every file that belongs to the scan", "copy it there, too",
            )  # fmt: skip
        files.append(place)
    for source in sources:
        if source.file_name != ".":
            with h5py.File(own.parent / source.file_name, "r", locking=False) as file:
                part = _get(file, source.dset_name)
                files += [] if part is None else _list_files(path, part, depth + 1)
    return list(dict.fromkeys(files))


def _length(file: h5py.File, path: str) -> float | None:
    """Read a length in um; None without one, or without a unit that is known."""
    item = _get(file, path)
    factor = _PER_UM.get(_unit(item)) if item is not None else None
    return None if item is None or factor is None else _scale(float(np.ravel(item)[0]), factor)


def _energy(file: h5py.File, *paths: str) -> float | None:
    for path in paths:
        item = _get(file, path)
        if item is not None:
            return _scale(float(np.ravel(item)[0]), _PER_KEV.get(_unit(item) or "kev", math.nan))
    return None


def _scale(value: float | None, factor: float) -> float | None:
    known = value is not None and math.isfinite(value * factor) and value != 0
    return value * factor if known and value is not None else None
