"""What is measured before a scan is retrieved: flats, shifts of the distances, fixed pattern."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ncm_kedro.atomic_write import open_atomic
from ncm_kedro.errors import TomogramError
from ncm_kedro.holo.corrections import (
    group_flats,
    measure_pattern,
    normalise_frames,
    remove_zingers,
)
from ncm_kedro.holo.registration import fit_drift, measure_shifts, rescale_image
from ncm_kedro.holo.scan import RawScan
from ncm_kedro.params.holo import HoloParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.volumes.blocks import Block, list_blocks, run_blocks

FloatArray = NDArray[np.float32]

_METHOD_VERSION = 2
_BAD_FRACTION = 0.01  # of a frame that may be unknown


@dataclass(frozen=True)
class Survey:
    """What is known of a scan before it is retrieved.

    Attributes
    ----------
    measured_mkd
        (M, K, 2), shift of each distance (y, x in reference pixels) at the projections ``at``,
        NaN where one of them is unusable.
    at
        (M,), projections that were looked at.
    shifts_akd
        (A, K, 2), the drift that was fitted.
    pattern_yx
        Pattern of the detector, in the logarithm of the intensity.
    unlit_k
        (K,), fraction of the pixels of each distance that the flats leave dark.
    """

    measured_mkd: NDArray[np.float64]
    at: NDArray[np.intp]
    shifts_akd: NDArray[np.float64]
    pattern_yx: FloatArray
    unlit_k: NDArray[np.float64]


def survey_scan(
    scan: RawScan,
    params: HoloParams,
    compute: TomoComputeParams,
    work: Path,
    *,
    device: str = "cpu",
) -> Survey:
    """Average flats and darks; find shifts and the detector's pattern on some projections.

    Parameters
    ----------
    work
        Folder of what is finished; flats and darks stay there for `read_intensity`.
    device
        Of torch.

    Raises
    ------
    TomogramError
        If no projection that was looked at has signal, or there are neither flats nor intensities.
    """
    file = work / "survey.npz"
    if not file.is_file():
        unlit = _average_flats(scan, work)
        wanted = min(params.corrections.registration_angles, scan.shape_ayx[0])
        at = np.unique(np.linspace(0, scan.shape_ayx[0] - 1, wanted).astype(int))
        kinds, size = len(scan.distances), scan.shape_ayx[1:]
        logs = open_scratch(work / "logs", (len(at) * kinds, *size), (kinds, *size))
        looked = run_blocks(
            LookTask(scan, params, work, at, logs, device),
            list_blocks((len(at), 1, 1), (1, 1, 1)),
            finished=work / "looked",
            compute=compute,
            title=f"{scan.name}: survey",
            version=_METHOD_VERSION,
        )
        measured = np.stack([one["shifts"] for one in looked]).astype(np.float64)
        usable = [number for number, one in enumerate(looked) if one["usable"]]
        if not usable:
            raise TomogramError(
                scan.source,
                found=f"{len(at)} projections, all that were looked at, without signal",
                expected="images brighter than the darks, of which some pixels are known",
                action="check shutter, flats and darks, and which frames are projections",
            )
        mean_log_kyx = np.zeros((kinds, *size), np.float32)
        for number in usable:
            one_kyx = np.asarray(logs[number * kinds : (number + 1) * kinds])
            mean_log_kyx += one_kyx / np.float32(len(usable))
        shifts = fit_drift(at.astype(float), measured, scan.shape_ayx[0])
        with open_atomic(file) as out:
            np.savez(
                out,
                measured_mkd=measured,
                at=at,
                shifts_akd=shifts,
                pattern_yx=measure_pattern(mean_log_kyx),
                unlit_k=unlit,
            )
    with np.load(file) as found:
        return Survey(**{name: found[name] for name in found.files})


def _average_flats(scan: RawScan, work: Path) -> list[float]:
    """Write mean darks and flats; return the fraction of pixels that some flat leaves dark."""
    unlit = []
    for number, distance in enumerate(scan.distances):
        parts = dict(zip(("dark", "flats", "places"), group_flats(distance), strict=True))
        for name, values in parts.items():
            with open_atomic(work / f"{name}_{number}.npy") as out:
                np.save(out, values)
        unlit.append(float(np.mean(~(parts["flats"] > 0).all(axis=0))))
    return unlit


def read_intensity(
    scan: RawScan, params: HoloParams, work: Path, distance: int, angles: NDArray[np.intp]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Read projections, corrected by flats and for zingers.

    Parameters
    ----------
    work
        Where `survey_scan` left flats and darks.
    angles
        (N,), which projections, counted from 0.

    Returns
    -------
    intensity_nyx, usable
        Intensity over that without sample, 1 where a projection is unusable; whether it is usable:
        with signal, and without NaN beyond single pixels.
    """
    dark, flats, places = (
        np.load(work / f"{name}_{distance}.npy", mmap_mode="r")
        for name in ("dark", "flats", "places")
    )
    one = scan.distances[distance]
    frames = one.read(one.frames[angles])
    known = np.isfinite(frames).mean(axis=(1, 2)) >= 1 - _BAD_FRACTION
    images = normalise_frames(frames, angles.astype(np.float32), dark, flats, places)
    usable = known & (np.isfinite(images).mean(axis=(1, 2)) > 0.5) & (
        np.nanmedian(np.where(np.isfinite(images), images, 0), axis=(1, 2)) > 0
    )  # fmt: skip
    threshold = params.corrections.zinger_threshold
    cleaned = [
        remove_zingers(image, threshold) if good else np.ones_like(image)
        for image, good in zip(images, usable, strict=True)
    ]
    return np.maximum(np.stack(cleaned), 1e-3), usable


@dataclass(frozen=True)
class LookTask:
    """Measures one projection: shifts between the distances, and the logarithm of the images."""

    scan: RawScan
    params: HoloParams
    work: Path
    chosen: NDArray[np.intp]
    logs: zarr.Array
    device: str

    def __call__(self, block: Block) -> Mapping[str, NDArray[Any]]:
        """Look at a projection; its logarithms go to ``logs``."""
        first = block.start[0]
        angle = self.chosen[first : first + 1]
        count = len(self.scan.distances)
        found = [read_intensity(self.scan, self.params, self.work, k, angle) for k in range(count)]
        images_kyx = np.concatenate([images for images, _ in found])
        if not all(usable.all() for _, usable in found):
            return {"shifts": np.full((count, 2), np.nan), "usable": np.array(False)}
        self.logs[first * count : (first + 1) * count] = np.log(images_kyx)
        shifts = np.zeros((count, 2))
        if count > 1 and self.params.corrections.register_distances:
            placed = [
                rescale_image(image, self.scan.geometry, k, (0.0, 0.0))
                for k, image in enumerate(images_kyx)
            ]
            shifts = measure_shifts(
                np.stack(placed), self.scan.geometry, self.params.retrieval, device=self.device
            )
        return {"shifts": shifts, "usable": np.array(True)}


def open_scratch(path: Path, shape: tuple[int, ...], chunks: tuple[int, ...]) -> zarr.Array:
    """Open an array of intermediate results (float32), or make it; a task writes whole chunks."""
    if (path / "zarr.json").is_file():
        return zarr.open_array(path, mode="r+")
    return zarr.create_array(path, shape=shape, chunks=chunks, dtype=np.float32, compressors=None)
