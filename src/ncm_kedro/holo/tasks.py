"""What is done with a block of a scan: phases of some projections, sections of some rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from scipy.ndimage import shift
from skimage.filters import threshold_multiotsu

from ncm_kedro.errors import TomogramError
from ncm_kedro.holo.fbp import ROWS, project_sections, reconstruct_rows
from ncm_kedro.holo.registration import rescale_image, stitch_half_turns, sum_rows
from ncm_kedro.holo.retrieval import PhaseRetriever
from ncm_kedro.holo.scan import RawScan, electron_density_per_delta
from ncm_kedro.holo.survey import Survey, read_intensity
from ncm_kedro.params.holo import HoloParams, PriorParams
from ncm_kedro.tomo.volumes.blocks import Block

_SAMPLES = 2_000_000
_LEAST = 0.02  # of a row of the lightest material: rays with less go through air
_log = logging.getLogger(__name__)
FloatArray = NDArray[np.float32]


def describe_materials(volume: Any, prior: PriorParams) -> list[float]:
    """Find the grey values between air and the materials of ``prior``, by multi-Otsu.

    Parameters
    ----------
    volume
        Zarr array (Z, Y, X).

    Returns
    -------
    list of float
        One a material, rising.
    """
    step = max(1, int(np.ceil((np.prod(volume.shape) / _SAMPLES) ** (1 / 3))))
    layers = [np.asarray(volume[z])[::step, ::step] for z in range(0, volume.shape[0], step)]
    grey = np.stack(layers)
    grey = grey[grey != 0]
    low, high = np.percentile(grey, [0.1, 99.9]) if grey.size else (0.0, 0.0)
    if not high > low:
        raise TomogramError(
            "materials of the first volume", found="no contrast", expected="materials",
            action="set prior.iterations to 0 and look at the volume",
        )  # fmt: skip
    limits = threshold_multiotsu(np.clip(grey, low, high), classes=len(prior.delta_over_beta) + 1)
    _log.info("materials begin at %s", ", ".join(f"{value:.3g}" for value in limits))
    return [float(value) for value in limits]


def mix_absorption(
    volume_zyx: FloatArray,
    limits: list[float],
    prior: PriorParams,
    *,
    angles_deg: NDArray[np.float64],
    centre_px: float,
    width_px: int,
) -> FloatArray:
    """Project the materials, and mix their ratios of absorption to phase along every ray.

    One ratio holds for one material; told apart by their grey, each ray knows its mixture.

    Returns
    -------
    ndarray of float32
        (Z, A, X), beta over delta.
    """
    shape = len(volume_zyx), len(angles_deg), width_px
    total, mixed = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    material = np.digitize(volume_zyx, limits)
    for number, ratio in enumerate(prior.delta_over_beta, start=1):
        part = np.where(material == number, volume_zyx, 0).astype(np.float32)
        lines = project_sections(part, angles_deg, centre_px, width_px)
        total += lines
        mixed += lines / np.float32(ratio)
    least = np.float32(_LEAST * limits[0] * width_px)
    # Air has neither: any ratio holds there, and the largest one says most firmly that phase is 0.
    air = 1 / np.float32(min(prior.delta_over_beta))
    return np.where(total > least, mixed / np.maximum(total, least), air).astype(np.float32)


@dataclass(frozen=True)
class PhaseTask:
    """Retrieves the phase of a few projections."""

    scan: RawScan
    params: HoloParams
    work: Path
    survey: Survey
    phase: zarr.Array
    ratio: zarr.Array | None
    start: zarr.Array | None
    device: str

    def __call__(self, block: Block) -> Mapping[str, NDArray[Any]]:
        """Retrieve them; say which were usable, and what their rows sum up to."""
        phases, usable = np.zeros(block.shape, np.float32), np.ones(block.shape[0], bool)
        for number, angle in enumerate(range(block.start[0], block.stop[0])):
            images_kyx, usable[number] = self._read(angle)
            if usable[number]:
                phases[number] = self._solve(images_kyx, angle)
        self.phase[block.start[0] : block.stop[0]] = phases
        return {"used": usable, "rows": np.stack([sum_rows(phase) for phase in phases])}

    def _read(self, angle: int) -> tuple[FloatArray, bool]:
        """Read a projection at all distances, on the same pixels; whether it is usable."""
        images, usable = [], True
        for k in range(len(self.scan.distances)):
            (image,), good = read_intensity(self.scan, self.params, self.work, k, np.array([angle]))
            usable &= bool(good.all())
            if self.params.corrections.remove_pattern:
                image = image * np.exp(-self.survey.pattern_yx)
            shifts = self.survey.shifts_akd[angle, k]
            images.append(rescale_image(image, self.scan.geometry, k, shifts))
        return np.stack(images), usable

    def _solve(self, images_kyx: FloatArray, angle: int) -> FloatArray:
        if self.scan.is_absorption:
            return np.asarray(np.log(images_kyx[0]), np.float32)
        settings = self.params.retrieval
        if self.ratio is not None:
            steps = self.params.prior.refinements
            settings = settings.model_copy(update={"refinements": steps})
        shape = images_kyx.shape[1], images_kyx.shape[2]
        retriever = PhaseRetriever(shape, self.scan.geometry.fresnel, settings, self.device)
        if self.ratio is None or self.start is None:
            return retriever.retrieve(images_kyx)
        start, ratio = np.asarray(self.start[angle]), np.asarray(self.ratio[angle])
        return retriever.refine(images_kyx, start, ratio)


@dataclass(frozen=True)
class AlignTask:
    """Moves a few projections to where the sample would have been without its movement."""

    phase: zarr.Array
    motion: NDArray[np.float64]
    aligned: zarr.Array

    def __call__(self, block: Block) -> None:
        """Move them."""
        some = slice(block.start[0], block.stop[0])
        self.aligned[some] = np.stack(
            [
                shift(phase, -moved, order=3, mode="nearest")
                for phase, moved in zip(
                    np.asarray(self.phase[some]), self.motion[some], strict=True
                )
            ]
        )


@dataclass(frozen=True)
class SectionTask:
    """Reconstructs the rows of one layer of shards, some at a time."""

    scan: RawScan
    params: HoloParams
    phase: zarr.Array
    used: NDArray[np.bool_]
    centre: float
    volume: zarr.Array
    device: str

    def __call__(self, block: Block) -> None:
        """Reconstruct a layer."""
        sections = np.empty(block.shape, np.float32)
        for first in range(block.start[0], block.stop[0], ROWS):
            last = min(first + ROWS, block.stop[0])
            rows = np.moveaxis(np.asarray(self.phase[:, first:last]), 0, 1)[:, self.used]
            lines, angles, axis = arrange_rows(self.scan, rows, self.used, self.centre)
            lines = _filter_rings(lines, self.params.corrections.ring_filter)
            made = reconstruct_rows(lines, angles, axis, size_px=block.shape[1], device=self.device)
            sections[first - block.start[0] : last - block.start[0]] = made
        sections *= _grey_per_phase(self.scan, self.params)
        self.volume[block.region] = sections


@dataclass(frozen=True)
class MixTask:
    """Projects the materials of some rows: absorption over phase of every ray."""

    scan: RawScan
    params: HoloParams
    volume: zarr.Array
    limits: list[float]
    centre: float
    ratio: zarr.Array

    def __call__(self, block: Block) -> None:
        """Project the rows."""
        first, last = block.start[0], block.stop[0]
        self.ratio[:, first:last] = np.moveaxis(
            mix_absorption(
                np.asarray(self.volume[first:last]),
                self.limits,
                self.params.prior,
                angles_deg=self.scan.angles_deg,
                centre_px=self.centre,
                width_px=self.scan.shape_ayx[2],
            ),
            0,
            1,
        )


def arrange_rows(
    scan: RawScan, rows_zax: FloatArray, used: NDArray[np.bool_], centre: float
) -> tuple[FloatArray, NDArray[np.float64], float]:
    """Bring usable rows to lines (Z, A, X), angles and axis that see all of a section."""
    angles = scan.angles_deg[used]
    if not scan.half_acquisition:
        return np.ascontiguousarray(rows_zax), angles, centre
    return stitch_half_turns(rows_zax, angles, centre, scan.source)


def _filter_rings(lines_zax: FloatArray, name: str) -> FloatArray:
    if name == "none":
        return lines_zax
    from algotom.prep import removal

    remove = removal.remove_all_stripe if name == "all" else removal.remove_stripe_based_sorting
    return np.stack([remove(np.array(sinogram)) for sinogram in lines_zax]).astype(np.float32)


def _grey_per_phase(scan: RawScan, params: HoloParams) -> np.float32:
    """Factor from radians a voxel to the quantity of the volume."""
    geometry = scan.geometry
    if scan.is_absorption:
        return np.float32(-1 / geometry.voxel_um)
    delta = -geometry.wavelength_um / (2 * np.pi * geometry.voxel_um)
    if params.reconstruction.quantity == "delta":
        return np.float32(delta)
    return np.float32(delta * electron_density_per_delta(geometry.energy_kev))
