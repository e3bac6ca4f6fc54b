"""The folder of raw scans, as a user lays it down."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
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
    find_geometry,
    make_scan_error,
)
from ncm_kedro.datasets.tomograms.notes import read_notes
from ncm_kedro.errors import NcmError, Rejections
from ncm_kedro.holo.scan import RawScan, RawScans
from ncm_kedro.tomo.volumes.identity import Identity, fingerprint, identify_content
from ncm_kedro.units import natural_key

_READER_VERSION = 2
_ALIKE_DEG = 0.01
_GAP_STEPS = 3.0  # steps of angles from which a gap is told
_HALF_TURN_DEG = 180.0
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
        for sample, paths in sources.items():
            with rejections.catch(sample, paths[0]):
                if len(paths) > 1:
                    raise make_scan_error(
                        paths[0], f"a scan of the same name, {paths[1].name}",
                        "a name for each", "rename one of them, or remove it",
                    )  # fmt: skip
                scans[sample] = open_scan(sample, paths[0], self._identity)
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

    def _list_sources(self) -> dict[str, list[Path]]:
        sources: dict[str, list[Path]] = {}
        found = self._filepath.iterdir() if self._filepath.is_dir() else ()
        for path in sorted(found):
            known = path.is_dir() or path.suffix.lower() in HDF5_SUFFIXES
            if known and not path.name.startswith("."):
                sources.setdefault(path.stem if path.is_file() else path.name, []).append(path)
        return sources


def open_scan(sample: str, path: Path, identity: Identity) -> RawScan:
    """Open one scan with its notes.

    Raises
    ------
    TomogramError
        If it cannot be used.
    """
    notes_path = path.with_name(f"{sample}.yml")
    notes = read_notes(notes_path, ScanNotes, "energy_kev: 17.0")
    opened = _open_distances(path, notes)
    angles, warnings = _check_angles(path, opened, notes)
    height, width = _check_frames(path, notes_path, opened, notes)
    geometry = find_geometry(path, notes_path, opened, notes)
    files = tuple(dict.fromkeys(file for one in opened for file in one.files))
    if not all(len(one.scan.flat_frames) for one in opened):
        warnings.append("no flats: the projections are taken as corrected already")
    elif not all(len(one.scan.dark_frames) for one in opened):
        warnings.append("no darks: the detector is taken to count nothing without beam")
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
            f"scan-{_READER_VERSION}",
            identify_content(path, files, identity),
            angles.tolist(),
            [one.scan.frames.tolist() for one in opened],
            asdict(geometry),  # what links lead to is in no file of the scan
            params=notes,
        ),
        warnings=tuple(warnings),
    )


def _check_frames(
    path: Path, notes_path: Path, opened: Sequence[OpenedDistance], notes: ScanNotes
) -> tuple[int, int]:
    shapes = {one.shape_yx for one in opened}
    if len(shapes) > 1:
        raise make_scan_error(path, f"frames of {' and '.join(map(str, sorted(shapes)))} px",
                              "one size at every distance", "crop them alike")  # fmt: skip
    height, width = opened[0].shape_yx
    if notes.centre_px is not None and not 0 < notes.centre_px < width - 1:
        raise make_scan_error(
            notes_path, f"centre_px: {notes.centre_px:g} of {width} columns",
            f"between 0 and {width - 1}", "correct centre_px, or remove it",
        )  # fmt: skip
    return height, width


def _open_distances(path: Path, notes: ScanNotes) -> list[OpenedDistance]:
    if path.is_file():
        return open_hdf5_scans(path, notes)
    parts = sorted(path.iterdir(), key=lambda part: natural_key(part.name))
    parts = [part for part in parts if not part.name.startswith(".")]
    if any(part.suffix.lower() in IMAGE_SUFFIXES for part in parts):
        beside = [part for part in parts if part.is_dir() or part.suffix.lower() in HDF5_SUFFIXES]
        if beside:
            raise make_scan_error(
                path, f"images beside {beside[0].name}", "images of one distance, or a folder or "
                "file a distance", "move what is no projection, flat or dark out of the folder",
            )  # fmt: skip
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
    if len(known) < len(opened) and notes.angles_deg is None:
        raise make_scan_error(
            path, f"angles at {len(known)} of {len(opened)} distances", "those of every distance",
            "give `angles_deg: [first, last]` in the scan's .yml, or complete the files",
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
        warnings.append(f"repeated angles: {repeated}, the first {first:.4g} degrees: averaged")
    folded = np.unique(np.round(ordered % _HALF_TURN_DEG, 6))
    empty = np.diff(folded, append=folded[0] + _HALF_TURN_DEG)
    usual = float(np.median(empty))
    turn = _HALF_TURN_DEG - float((empty[empty > _GAP_STEPS * usual] - usual).sum())
    if turn < _LEAST_TURN_DEG:
        warnings.append(
            f"angles cover {turn:.4g} degrees of 180: sections are blurred along the directions "
            "that are missing"
        )
    steps = np.diff(angles_deg)
    if (steps > 0).any() and (steps < 0).any():
        warnings.append("angles do not rise or fall throughout: taken as they stand")
    return warnings
