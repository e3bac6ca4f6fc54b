"""Phantom scans, written as a beamline would: NXtomo, an entry a distance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
import yaml
from kedro.io import AbstractDataset
from tqdm import tqdm

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.datasets.files import lock_store
from ncm_kedro.datasets.projections.folder import RawScanFolder
from ncm_kedro.datasets.tomograms.phantoms import LABELS_ENDING
from ncm_kedro.holo.scan import RawScans
from ncm_kedro.params.holo import HoloPhantomParams
from ncm_kedro.synthetic.holo import (
    FRAMES_OF_FLAT,
    iter_frames,
    label_phantom,
    make_darks,
    make_flats,
    make_phantom,
)
from ncm_kedro.tomo.volumes.identity import fingerprint

_VERSION = 2
_DIGEST = "ncm_phantom"


class SyntheticScanFolder(AbstractDataset[HoloPhantomParams, RawScans]):
    """Renders a phantom scan into a folder of raw scans, its labels into that of truths.

    A scan that is there with the same settings is reused.

    Parameters
    ----------
    filepath
        The folder of raw scans.
    truth
        The folder of known labels.
    """

    def __init__(
        self, *, filepath: str, truth: str, metadata: dict[str, Any] | None = None
    ) -> None:
        self._filepath, self._truth = Path(filepath), Path(truth)
        self.metadata = metadata

    def save(self, data: HoloPhantomParams) -> None:
        """Render what is not there yet."""
        file = self._filepath / f"{data.name}.nx"
        labels = self._truth / f"{data.name}{LABELS_ENDING}"
        digest = fingerprint(f"holo-phantom-{_VERSION}", params=data)
        with lock_store(self._filepath):
            if labels.is_file() and _read_digest(file) == digest:
                return
            self._filepath.mkdir(parents=True, exist_ok=True)
            self._truth.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f".{file.name}.partial")
            with h5py.File(partial, "w") as out:
                _write_scan(out, data)
                out.attrs[_DIGEST] = digest
            notes = {"axis_to_collector": "z"}  # intact spheres: of no cycle number
            write_atomic(file.with_suffix(".yml"), yaml.safe_dump(notes).encode())
            file.unlink(missing_ok=True)  # killed from here on, both are rendered again
            known = label_phantom(make_phantom(data), data.size_px, data.voxel_size_um)
            tifffile.imwrite(labels, known, compression="zlib")
            partial.replace(file)

    def load(self) -> RawScans:
        """Open the scans."""
        return RawScanFolder(filepath=str(self._filepath)).load()

    def _exists(self) -> bool:
        return any(self._filepath.glob("*.nx"))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "truth": str(self._truth)}


def _write_scan(out: h5py.File, params: HoloPhantomParams) -> None:
    keys = np.repeat([2, 1, 0, 1], [FRAMES_OF_FLAT, FRAMES_OF_FLAT, params.angles, FRAMES_OF_FLAT])
    first = 2 * FRAMES_OF_FLAT
    stacks, degrees = [], np.zeros(len(keys))
    for number, z1_mm in enumerate(params.focus_sample_mm):
        entry = out.create_group(f"entry{number:04d}")
        entry.attrs.update({"NX_class": "NXentry", "definition": "NXtomo"})
        detector = entry.create_group("instrument/detector")
        data = detector.create_dataset(
            "data", (len(keys), params.size_px, params.size_px), np.uint16,
            chunks=(1, params.size_px, params.size_px), compression="lzf",
        )  # fmt: skip
        data[:FRAMES_OF_FLAT] = make_darks(params)
        data[FRAMES_OF_FLAT:first] = make_flats(params, number, 0)
        data[first + params.angles :] = make_flats(params, number, params.angles)
        detector["image_key"] = keys
        for name in ("x_pixel_size", "y_pixel_size"):
            _write(detector, name, params.detector_pixel_um * 1e-6, "m")
        _write(detector, "distance", (params.focus_detector_mm - z1_mm) * 1e-3, "m")
        _write(entry, "instrument/source/distance", -z1_mm * 1e-3, "m")
        _write(entry, "instrument/beam/incident_energy", params.energy_kev, "keV")
        stacks.append(data)
    frames = tqdm(iter_frames(params), total=params.angles, desc="phantom scan", disable=None)
    for place, (angle, frames_kyx) in enumerate(frames, start=first):
        degrees[place] = angle
        for data, frame in zip(stacks, frames_kyx, strict=True):
            data[place] = frame
    for number in range(len(stacks)):
        _write(out, f"entry{number:04d}/sample/rotation_angle", degrees, "degree")


def _write(group: h5py.Group, path: str, value: Any, unit: str) -> None:
    group[path] = value
    group[path].attrs["units"] = unit


def _read_digest(file: Path) -> str | None:
    try:
        with h5py.File(file, "r", locking=False) as found:
            return str(found.attrs.get(_DIGEST))
    except OSError:
        return None
