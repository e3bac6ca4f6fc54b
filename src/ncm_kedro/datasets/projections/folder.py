"""The folder of raw scans, as a user lays it down."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.datasets.files import RawFolder
from ncm_kedro.datasets.projections.hdf5 import HDF5_SUFFIXES, open_hdf5_scans
from ncm_kedro.datasets.projections.images import IMAGE_SUFFIXES, open_image_scan
from ncm_kedro.datasets.projections.opened import (
    OpenedDistance,
    ScanNotes,
    make_scan_error,
    read_scan_notes,
)
from ncm_kedro.errors import NcmError, Rejections
from ncm_kedro.holo.geometry import Geometry, describe_cone
from ncm_kedro.holo.scan import RawScan, RawScans
from ncm_kedro.tomo.volumes.identity import Identity, fingerprint, identify_content
from ncm_kedro.units import natural_key

_READER_VERSION = 1
_ALIKE_DEG = 0.01
_LEAST_TURN_DEG = 175.0


class RawScanFolder(RawFolder):
    """Scans as ``<filepath>/<sample>{.nx,.h5,/}``; read only.

    A file holds all distances, an entry each. A folder holds a file or a folder of images per
    distance, in the natural order of their names, or the images of a single one.
    ``<sample>.yml`` beside it may hold the keys of `ScanNotes`.

    Parameters
    ----------
    identity
        How a scan is known again, see `Identity`.

    Attributes
    ----------
    may_be_missing
        Users of reconstructed tomograms have no scans.
    """

    holds = "raw scans"
    may_be_missing = True

    def __init__(
        self,
        *,
        filepath: str,
        identity: Identity = "sampled",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._identity: Identity = identity

    def load(self) -> RawScans:
        """Open every scan; metadata is read, no projection.

        Raises
        ------
        TomogramError
            If the folder holds no scan, or none that can be used.
        """
        sources = self._list_sources()
        if not sources:
            raise make_scan_error(
                self._filepath,
                "no scan" if self._filepath.is_dir() else "no such folder",
                "scans as <sample>.nx, <sample>.h5, or a folder <sample>/ of distances",
                f"put one there, with what its files do not say in {self._filepath.name}/"
                "<sample>.yml (energy_kev, focus_sample_mm, focus_detector_mm, pixel_um)",
            )
        scans, rejections = {}, Rejections()
        for sample, path in sources.items():
            with rejections.catch(sample, path):
                scans[sample] = open_scan(sample, path, self._identity)
        rejections.check_left(len(sources))
        return RawScans(scans, rejections.reasons)

    def content_hash(self) -> str | None:
        """Return a hash over the scans' content, None where nothing can be used."""
        try:
            scans = self.load()
        except NcmError:
            return None
        told = [f"{name} {scan.fingerprint}" for name, scan in scans.items()]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def _list_sources(self) -> dict[str, Path]:
        if not self._filepath.is_dir():
            return {}
        found = sorted(p for p in self._filepath.iterdir() if not p.name.startswith("."))
        return {
            path.stem if path.is_file() else path.name: path
            for path in found
            if path.is_dir() or path.suffix.lower() in HDF5_SUFFIXES
        }


def open_scan(sample: str, path: Path, identity: Identity) -> RawScan:
    """Open one scan with its notes.

    Raises
    ------
    TomogramError
        If it cannot be used.
    """
    notes_path = path.with_name(f"{sample}.yml")
    notes = read_scan_notes(notes_path)
    opened = _open_distances(path, notes)
    angles, warnings = _check_angles(path, opened, notes)
    shapes = {one.shape_yx for one in opened}
    if len(shapes) > 1:
        raise make_scan_error(path, f"frames of {' and '.join(map(str, sorted(shapes)))} px",
                              "one size at every distance", "crop them alike")  # fmt: skip
    height, width = opened[0].shape_yx
    geometry = _find_geometry(path, notes_path, opened, notes)
    files = tuple(dict.fromkeys(file for one in opened for file in one.files))
    if not all(len(one.scan.flat_frames) for one in opened):
        warnings.append("no flats: the projections are taken as corrected already")
    return RawScan(
        name=sample,
        source=path.as_posix(),
        shape_ayx=(len(angles), height, width),
        angles_deg=angles,
        distances=tuple(one.scan for one in opened),
        geometry=geometry,
        is_absorption=notes.absorption,
        centre_px=notes.centre_px,
        half_acquisition=notes.half_acquisition,
        attributes=notes.model_dump(
            include={"cycles", "c_rate", "axis_to_collector"}, exclude_none=True
        ),
        fingerprint=fingerprint(
            f"scan-{_READER_VERSION}", identify_content(path, files, identity), params=notes
        ),
        warnings=tuple(warnings),
    )


def _open_distances(path: Path, notes: ScanNotes) -> list[OpenedDistance]:
    if path.is_file():
        return open_hdf5_scans(path, notes)
    parts = sorted(path.iterdir(), key=lambda part: natural_key(part.name))
    parts = [part for part in parts if not part.name.startswith(".")]
    if any(part.suffix.lower() in IMAGE_SUFFIXES for part in parts):
        return [open_image_scan(path)]
    files = [part for part in parts if part.suffix.lower() in HDF5_SUFFIXES and part.is_file()]
    opened = [one for file in files for one in open_hdf5_scans(file, notes)]
    opened += [open_image_scan(part) for part in parts if part.is_dir()]
    if not opened:
        raise make_scan_error(path, "no projections")
    return opened


def _check_angles(
    path: Path, opened: Sequence[OpenedDistance], notes: ScanNotes
) -> tuple[NDArray[np.float64], list[str]]:
    counts = [len(one.scan.frames) for one in opened]
    if len(set(counts)) > 1:
        raise make_scan_error(
            path,
            f"{', '.join(map(str, counts))} projections at the distances",
            "the same angles at every distance",
            "remove the distance that was not finished from the scan, or scan it again",
        )
    known = [one.angles_deg for one in opened if one.angles_deg is not None]
    if notes.angles_deg is not None:
        known = [np.linspace(*notes.angles_deg, counts[0])]
    if not known:
        raise make_scan_error(
            path, f"no angles of {counts[0]} projections", "the angle of each projection",
            f"write `angles_deg: [first, last]` into {path.with_suffix('').name}.yml, such as "
            f"`angles_deg: [0, {180 - 180 / counts[0]:.4g}]`",
        )  # fmt: skip
    angles = np.asarray(known[0], np.float64)
    for other in known[1:]:
        if np.abs(other - angles).max() > _ALIKE_DEG:
            raise make_scan_error(
                path, f"angles that differ by {np.abs(other - angles).max():.3g} degrees between "
                "distances", "the same angles at every distance",
                "sort the frames alike; resample distances that were scanned at other angles",
            )  # fmt: skip
    return angles, _warn_of_angles(path, angles)


def _warn_of_angles(path: Path, angles_deg: NDArray[np.float64]) -> list[str]:
    warnings = []
    ordered = np.sort(angles_deg)
    if not np.isfinite(ordered).all():
        raise make_scan_error(path, "angles that are not numbers", "an angle a projection")
    gaps = np.diff(ordered)
    repeated = np.count_nonzero(gaps < 1e-6)
    if repeated > len(ordered) / 2:
        raise make_scan_error(
            path, f"{repeated + 1} projections at one angle", "an angle of its own a projection",
            "name the right angles by `angles_path`, or give `angles_deg: [first, last]`",
        )  # fmt: skip
    if repeated:
        first = ordered[:-1][gaps < 1e-6][0]
        warnings.append(f"{repeated} angles are repeated, the first {first:.4g} degrees: averaged")
    turn = float(np.ptp(ordered)) + float(np.median(gaps)) if len(gaps) else 0.0
    if turn < _LEAST_TURN_DEG:
        warnings.append(
            f"angles cover {turn:.4g} degrees of 180: sections are blurred along the directions "
            "that are missing"
        )
    steps = np.diff(angles_deg)
    if (steps > 0).any() and (steps < 0).any():
        warnings.append("angles do not rise or fall throughout: taken as they stand")
    return warnings


def _find_geometry(
    path: Path, notes_path: Path, opened: Sequence[OpenedDistance], notes: ScanNotes
) -> Geometry:
    def ask(what: str, line: str) -> NcmError:
        return make_scan_error(path, f"no {what}", f"the {what}, in the file or beside it",
                               f"write a line such as `{line}` into {notes_path}")  # fmt: skip

    first = opened[0]
    energy = notes.energy_kev or first.energy_kev
    pixel = notes.pixel_um or first.detector_pixel_um or first.sample_pixel_um
    if pixel is None:
        raise ask("size of a pixel", "pixel_um: 3.0")
    if notes.absorption:
        return Geometry(energy or 1.0, (0.0,) * len(opened), (pixel,) * len(opened))
    if energy is None:
        raise ask("photon energy", "energy_kev: 17.0")
    if notes.propagation_mm is not None:
        _check_count(notes_path, "propagation_mm", notes.propagation_mm, len(opened))
        return Geometry(
            energy, tuple(1e3 * d for d in notes.propagation_mm), (pixel,) * len(opened)
        )
    z1, total = _find_cone(notes_path, opened, notes)
    if z1 is None or total is None:
        parallel = [one.sample_detector_mm for one in opened]
        if z1 is None and None not in parallel:
            return Geometry(energy, tuple(1e3 * float(d or 0) for d in parallel),
                            (pixel,) * len(opened))  # fmt: skip
        raise ask("distances", "focus_sample_mm: [40.6, 43.4, 54.6, 77.9]` and `focus_detector_mm: "
                  "1217")  # fmt: skip
    if len(set(z1)) < len(z1) or not 0 < min(z1) <= max(z1) < total:
        raise make_scan_error(
            notes_path if notes.focus_sample_mm else path,
            f"focus to sample {', '.join(f'{z:g}' for z in z1)} mm, to detector {total:g} mm",
            "distances that differ and lie before the detector",
            "correct focus_sample_mm (in the order of the files) and focus_detector_mm",
        )
    return describe_cone(energy, z1, total, pixel)


def _find_cone(
    notes_path: Path, opened: Sequence[OpenedDistance], notes: ScanNotes
) -> tuple[list[float] | None, float | None]:
    """Find focus to sample of each distance and focus to detector."""
    said = [one.focus_sample_mm for one in opened]
    z1 = None if None in said else [float(z or 0) for z in said]
    if notes.focus_sample_mm is not None:
        _check_count(notes_path, "focus_sample_mm", notes.focus_sample_mm, len(opened))
        z1 = list(notes.focus_sample_mm)
    total = notes.focus_detector_mm
    behind = opened[0].sample_detector_mm
    if total is None and behind is not None and said[0] is not None:
        total = behind + said[0]
    return z1, total


def _check_count(notes_path: Path, key: str, values: Sequence[float], count: int) -> None:
    if len(values) != count:
        raise make_scan_error(
            notes_path,
            f"{len(values)} values of {key} for {count} distances",
            "one value a distance, in the natural order of the files' names",
            f"correct {key}",
        )
