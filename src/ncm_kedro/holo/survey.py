"""What is measured before a scan is retrieved: flats, shifts of the distances, fixed pattern.

Frames of the detector become intensities in the order of Van Nieuwenhove et al., Opt. Express 23,
27975 (2015), without their eigen flats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from ncm_kedro.atomic_write import open_atomic
from ncm_kedro.errors import TomogramError
from ncm_kedro.holo.registration import fit_drift, measure_shifts, rescale_image
from ncm_kedro.holo.scan import DistanceScan, RawScan
from ncm_kedro.params.holo import HoloParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.volumes.blocks import Block, list_blocks, run_blocks

_LEAST = 1e-3
_PATTERN_PX = 5  # stripes are narrower, shadows of the sample wider
_SINGLE_PX = 3
_CORRECTED = 2.0  # that intensities over those without sample do not exceed
_LEAST_DISTANCES = 3  # that show what they have in common
FloatArray = NDArray[np.float32]
_METHOD_VERSION = 2
_BAD_FRACTION = 0.01  # of a frame that may be unknown


def group_flats(scan: DistanceScan) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Average the darks, and the flats that were taken in one go.

    Returns
    -------
    dark_yx, flats_fyx, place_f
        Mean dark (Y, X); mean flats less dark (F, Y, X); the projection, counted from 0, before
        which each group was taken. No flats: ones, and a dark of 0, for projections that are
        corrected already.

    Raises
    ------
    TomogramError
        If there are no flats, and the projections are counts.
    """
    shape = scan.read(scan.frames[:1]).shape[1:]
    dark_yx = np.zeros(shape, np.float32)
    if not len(scan.flat_frames):
        _check_intensity(scan)
        return dark_yx, np.ones((1, *shape), np.float32), np.zeros(1, np.float32)
    if len(scan.dark_frames):
        dark_yx = np.mean((scan.read_darks or scan.read)(scan.dark_frames), 0, np.float32)
    read = scan.read_flats or scan.read
    places = scan.flat_places
    if places is None and scan.read_flats is None:
        places = np.searchsorted(scan.frames, scan.flat_frames)
    elif places is None:
        places = np.zeros(len(scan.flat_frames), np.intp)
    known = np.unique(places)
    flats = [np.mean(read(scan.flat_frames[places == p]), 0, np.float32) - dark_yx for p in known]
    return dark_yx, np.stack(flats), known.astype(np.float32)


def normalise_frames(
    frames_ayx: NDArray[np.generic],
    places_a: NDArray[np.float32],
    dark_yx: FloatArray,
    flats_fyx: FloatArray,
    flat_places_f: FloatArray,
) -> FloatArray:
    """Divide by the flat at the time of each frame, linear between the groups of flats.

    Parameters
    ----------
    places_a, flat_places_f
        Of frames and groups of flats, both in projections from the first one.

    Returns
    -------
    ndarray of float32
        (A, Y, X), intensity over that without sample; NaN where the beam gives none.
    """
    out = frames_ayx.astype(np.float32) - dark_yx
    for image, place in zip(out, places_a, strict=True):
        upper = int(np.clip(np.searchsorted(flat_places_f, place), 1, max(len(flats_fyx) - 1, 1)))
        flat = flats_fyx[0]
        if len(flats_fyx) > 1:
            low, high = flat_places_f[upper - 1], flat_places_f[upper]
            share = np.float32(np.clip((place - low) / (high - low), 0, 1))
            flat = (1 - share) * flats_fyx[upper - 1] + share * flats_fyx[upper]
        np.divide(image, np.where(flat > 0, flat, np.nan), out=image)
    return out


def remove_zingers(image_yx: FloatArray, threshold: float) -> FloatArray:
    """Replace pixels that are far above their surroundings, or unknown, by the local median.

    Parameters
    ----------
    threshold
        Excess over the median of 3 x 3 pixels from which a pixel is a zinger (fraction of it).
    """
    known = np.isfinite(image_yx)
    filled = image_yx if known.all() else _fill(image_yx, known)
    middle = cv2.medianBlur(filled, 3)
    hit = (filled > middle * (1 + threshold) + _LEAST) | ~known
    return np.where(hit, middle, filled)


def measure_pattern(mean_log_kyx: FloatArray) -> FloatArray:
    """Find the pattern of the detector that flats have left: it is the same at every distance.

    Narrow structure that stands still while the sample turns may also be the sample's own: its
    fringes, what lies near the axis. That differs between distances. Hence a pixel counts where all
    distances show the same sign, by the least of them; of few distances only single pixels count.

    Parameters
    ----------
    mean_log_kyx
        (K, Y, X), logarithm of the intensity, averaged over the angles.

    Returns
    -------
    ndarray of float32
        (Y, X), pattern; subtract it from the logarithm.
    """
    width = _PATTERN_PX if len(mean_log_kyx) >= _LEAST_DISTANCES else _SINGLE_PX
    smooth = median_filter(mean_log_kyx, size=(1, 1, width), mode="nearest")
    rest_kyx = mean_log_kyx - smooth
    sign_kyx = np.sign(rest_kyx)
    least_yx = np.where((sign_kyx == sign_kyx[0]).all(axis=0), np.abs(rest_kyx).min(axis=0), 0)
    return np.asarray(sign_kyx[0] * least_yx, np.float32)


def _check_intensity(scan: DistanceScan) -> None:
    typical = float(np.nanmedian(scan.read(scan.frames[len(scan.frames) // 2 :][:1])))
    if not 0 < typical < _CORRECTED:
        raise TomogramError(
            scan.source,
            found=f"no flats, and projections of {typical:.4g} in the median",
            expected="flats, or projections that were divided by them: 1 without sample",
            action="supply the flats, or divide by them before",
        )


def _fill(image_yx: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    """Fill unknown pixels with the mean of the known ones about them."""
    weight = cv2.blur(known.astype(np.float32), (7, 7))
    total = cv2.blur(np.where(known, image_yx, 0).astype(np.float32), (7, 7))
    near = total / np.maximum(weight, 1e-6)
    return np.where(known, image_yx, np.where(weight > 0, near, 1)).astype(np.float32)


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
