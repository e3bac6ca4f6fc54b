"""From a scan to a volume: surveyed, retrieved by projections, reconstructed by rows.

Every stage is cut into blocks that are marked when they are finished: a run may be killed at any
moment and goes on. Memory is that of one projection at all distances, then that of some rows.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ncm_kedro.atomic_write import write_atomic
from ncm_kedro.errors import TomogramError
from ncm_kedro.holo.fbp import ROWS
from ncm_kedro.holo.quality import correlate_halves, find_resolution, measure_rings
from ncm_kedro.holo.registration import find_centre, find_motion
from ncm_kedro.holo.scan import RawScan, electron_density_per_delta
from ncm_kedro.holo.survey import Survey, open_scratch, survey_scan
from ncm_kedro.holo.tasks import (
    AlignTask,
    MixTask,
    PhaseTask,
    SectionTask,
    arrange_rows,
    describe_materials,
)
from ncm_kedro.learning.data.loader import choose_device, use_one_thread
from ncm_kedro.params.holo import HoloComputeParams, HoloParams
from ncm_kedro.tomo.volumes.blocks import list_blocks, run_blocks
from ncm_kedro.tomo.volumes.identity import fingerprint
from ncm_kedro.tomo.volumes.volume import VolumePlan, VolumeTarget

FloatArray = NDArray[np.float32]

UNITS = {"electron_density": "e/A3", "delta": "1", "attenuation": "1/um"}
_METHOD_VERSION = 5
_ANGLES = 4  # projections of a block of work
_SURVEYED_ROWS = 9  # rows from which the centre is found
_EXCLUDED_FRACTION = 0.1  # of the projections
_THUMBNAIL_PX = 160
_log = logging.getLogger(__name__)


def plan_reconstruction(
    scan: RawScan, params: HoloParams, compute: HoloComputeParams
) -> VolumePlan:
    """Plan the volume of a scan.

    Returns
    -------
    VolumePlan
        float32, electron density (e/A3) or delta; 0 outside the circle that all projections see.
        Written with it is what the quality page shows: ``centre_px``, ``shifts_px``, ``fsc``, ...

    Raises
    ------
    TomogramError
        If the method of retrieval needs more distances.
    SettingsError
        CUDA is requested and there is none.
    """
    device = choose_device(compute.device).type
    if params.retrieval.method == "ctf" and len(scan.distances) < 2 and not scan.is_absorption:
        raise TomogramError(
            scan.source,
            found="one distance, and retrieval.method ctf",
            expected="two distances at least: phase and absorption are fitted each for itself",
            action="set retrieval.method to ctf_homogeneous or paganin",
        )
    _, height, width = scan.shape_ayx
    edge = 2 * width if scan.half_acquisition else width
    voxel_um = scan.geometry.voxel_um
    quantity = "attenuation" if scan.is_absorption else params.reconstruction.quantity
    per_grey = None
    if quantity != "attenuation":
        per_delta = electron_density_per_delta(scan.geometry.energy_kev)
        per_grey = 1 / per_delta if quantity == "electron_density" else 1.0
    return VolumePlan(
        name=scan.name,
        shape_zyx=(height, edge, edge),
        dtype=np.float32,
        voxel_size_um=(voxel_um,) * 3,
        fingerprint=fingerprint(f"holo-{_METHOD_VERSION}", scan.fingerprint, params=params),
        write=HoloWriter(scan, params, compute, device),
        attributes={
            **scan.attributes,
            "source": scan.source,
            "grey_unit": UNITS[quantity],
            "quantity": quantity,
            "delta_per_grey": per_grey,
            "voxel_size_source": f"pixel of the highest magnification of {Path(scan.source).name}",
            "energy_kev": scan.geometry.energy_kev,
            "distance_um": list(scan.geometry.distance_um),
            "delta_over_beta": list(
                params.prior.delta_over_beta
                if params.prior.iterations
                else (params.retrieval.delta_over_beta,)
            ),
            "prior_iterations": params.prior.iterations,
            "fringe_um": None if scan.is_absorption else scan.geometry.fringe_um,
            "frame_px": width,
            "scan_warnings": list(scan.warnings),
        },
    )


@dataclass(frozen=True)
class HoloWriter:
    """Fills a target with the volume of a scan."""

    scan: RawScan
    params: HoloParams
    compute: HoloComputeParams
    device: str

    @use_one_thread()
    def __call__(self, target: VolumeTarget) -> None:
        """Survey, retrieve, find the centre, reconstruct, and note the figures of quality."""
        survey = survey_scan(self.scan, self.params, self.compute, target.work, device=self.device)
        phase, used, rows = self._retrieve(target.work, "phase", survey)
        motion = self._find_motion(rows, used)
        shifted = survey
        if motion is not None and self.params.corrections.correct_motion:
            phase = self._align(target.work, phase, motion)
            shifted = replace(survey, shifts_akd=survey.shifts_akd + motion[:, None])
        centre = self._find_centre(target.work, phase, used)
        for number in range(0 if self.scan.is_absorption else self.params.prior.iterations):
            volume = _open_scratch(target.work / f"volume_{number}", target.array.shape)
            self._reconstruct(target.work / f"volume_{number}_done", phase, used, centre[0], volume)
            ratio = self._mix(target.work, volume, number, centre[0])
            phase, used, _ = self._retrieve(
                target.work, f"phase_{number}", shifted, ratio=ratio, start=phase
            )
        self._reconstruct(target.work / "sections", phase, used, centre[0], target.array)
        facts = self._measure(phase, used, centre, survey, target.array)
        target.array.attrs.update(facts | self._describe_motion(motion))

    def _retrieve(
        self,
        work: Path,
        name: str,
        survey: Survey,
        *,
        ratio: zarr.Array | None = None,
        start: zarr.Array | None = None,
    ) -> tuple[zarr.Array, NDArray[np.bool_], NDArray[np.float64]]:
        phase = _open_scratch(work / name, self.scan.shape_ayx)
        _, height, width = self.scan.shape_ayx
        results = run_blocks(
            PhaseTask(self.scan, self.params, work, survey, phase, ratio, start, self.device),
            list_blocks(self.scan.shape_ayx, (_ANGLES, height, width)),
            finished=work / f"{name}_done",
            compute=self.compute,
            title=f"{self.scan.name}: {name}",
            version=_METHOD_VERSION,
        )
        used = np.concatenate([one["used"] for one in results])
        if np.mean(~used) > _EXCLUDED_FRACTION:
            raise TomogramError(
                self.scan.source,
                found=f"{np.count_nonzero(~used)} of {len(used)} projections with NaN or without "
                f"signal, the first at {self.scan.angles_deg[~used][0]:.4g} degrees",
                expected=f"at most {_EXCLUDED_FRACTION:.0%} of them",
                action="check the detector's files; remove the frames, or scan again",
            )
        return phase, used, np.concatenate([one["rows"] for one in results]).astype(np.float64)

    def _find_motion(
        self, rows: NDArray[np.float64], used: NDArray[np.bool_]
    ) -> NDArray[np.float64] | None:
        if self.scan.half_acquisition:
            return None
        found = find_motion(rows[used], self.scan.angles_deg[used])
        if found is None:
            return None
        motion = np.zeros((len(used), 2))
        motion[used] = found
        return motion

    def _align(self, work: Path, phase: zarr.Array, motion: NDArray[np.float64]) -> zarr.Array:
        aligned = _open_scratch(work / "aligned", self.scan.shape_ayx)
        _, height, width = self.scan.shape_ayx
        run_blocks(
            AlignTask(phase, motion, aligned),
            list_blocks(self.scan.shape_ayx, (_ANGLES, height, width)),
            finished=work / "aligned_done",
            compute=self.compute,
            title=f"{self.scan.name}: movement",
            version=_METHOD_VERSION,
        )
        return aligned

    def _describe_motion(self, motion: NDArray[np.float64] | None) -> dict[str, Any]:
        rms = None if motion is None else np.sqrt(np.mean(motion**2, axis=0)).tolist()
        corrected = motion is not None and self.params.corrections.correct_motion
        return {"motion_rms_px": rms, "motion_corrected": corrected}

    def _find_centre(
        self, work: Path, phase: zarr.Array, used: NDArray[np.bool_]
    ) -> tuple[float, float]:
        if self.scan.centre_px is not None:
            return self.scan.centre_px, 0.0
        file = work / "centre.json"
        if not file.is_file():
            height = phase.shape[1]
            rows = np.unique(np.linspace(height * 0.2, height * 0.8, _SURVEYED_ROWS).astype(int))
            sinograms = np.stack([phase[:, row][used] for row in rows])
            found = find_centre(
                sinograms,
                self.scan.angles_deg[used],
                half_acquisition=self.scan.half_acquisition,
            )
            write_atomic(file, json.dumps(found).encode())
        centre, spread = json.loads(file.read_text())
        return float(centre), float(spread)

    def _reconstruct(
        self,
        finished: Path,
        phase: zarr.Array,
        used: NDArray[np.bool_],
        centre: float,
        volume: zarr.Array,
    ) -> None:
        edge = int(volume.shards[0]) if volume.shards else ROWS
        depth, height, width = volume.shape
        run_blocks(
            SectionTask(self.scan, self.params, phase, used, centre, volume, self.device),
            list_blocks((depth, height, width), (edge, height, width)),
            finished=finished,
            compute=self.compute,
            title=f"{self.scan.name}: reconstruction",
            version=_METHOD_VERSION,
        )

    def _mix(self, work: Path, volume: zarr.Array, number: int, centre: float) -> zarr.Array:
        ratio = _open_scratch(work / f"ratio_{number}", self.scan.shape_ayx)
        limits = describe_materials(volume, self.params.prior)
        run_blocks(
            MixTask(self.scan, self.params, volume, limits, centre, ratio),
            list_blocks((self.scan.shape_ayx[1], 1, 1), (ROWS, 1, 1)),
            finished=work / f"ratio_{number}_done",
            compute=self.compute,
            title=f"{self.scan.name}: materials",
            version=_METHOD_VERSION,
        )
        return ratio

    def _measure(
        self,
        phase: zarr.Array,
        used: NDArray[np.bool_],
        centre: tuple[float, float],
        survey: Survey,
        volume: zarr.Array,
    ) -> dict[str, Any]:
        """Gather what the quality page shows."""
        middle = phase.shape[1] // 2
        first = max(0, min(middle - ROWS // 2, phase.shape[1] - ROWS))
        rows = np.moveaxis(np.asarray(phase[:, first : first + ROWS]), 0, 1)[:, used]
        lines, angles, axis = arrange_rows(self.scan, rows, used, centre[0])
        frequency, correlation = correlate_halves(lines, angles, axis)
        sinogram = -rows[min(ROWS, len(rows)) // 2]
        step_a, step_x = (max(1, -(-n // _THUMBNAIL_PX)) for n in sinogram.shape)
        fitted = survey.shifts_akd[survey.at]
        return {
            "centre_px": centre[0],
            "centre_spread_px": centre[1],
            "centre_given": self.scan.centre_px is not None,
            "excluded_projections": np.flatnonzero(~used).tolist(),
            "shift_places": survey.at.tolist(),
            "shifts_px": [_round_known(one) for one in survey.measured_mkd],
            "shift_scatter_px": _measure_scatter(survey.measured_mkd - fitted),
            "shifts_fitted_px": np.round(fitted, 3).tolist(),
            "unlit_fraction": float(survey.unlit_k.max()),
            "pattern_rms": float(np.std(survey.pattern_yx)),
            "ring_strength": measure_rings(np.asarray(volume[volume.shape[0] // 2])),
            "fsc": {
                "frequency": np.round(frequency, 5).tolist(),
                "correlation": np.round(correlation, 4).tolist(),
            },
            "resolution_um": find_resolution(frequency, correlation, self.scan.geometry.voxel_um),
            "sinogram": np.round(sinogram[::step_a, ::step_x], 3).tolist(),
        }


def _open_scratch(path: Path, shape: tuple[int, ...]) -> zarr.Array:
    return open_scratch(path, shape, (_ANGLES, min(ROWS, shape[1]), shape[2]))


def _round_known(values_kd: NDArray[np.float64]) -> list[list[float]] | None:
    """Round for JSON, which knows no NaN."""
    return np.round(values_kd, 3).tolist() if np.isfinite(values_kd).all() else None


def _measure_scatter(left_mkd: NDArray[np.float64]) -> float | None:
    """Return the median distance of shifts from what was fitted (px), of the worst scan."""
    known = left_mkd[np.isfinite(left_mkd).all(axis=(1, 2))]
    return float(np.median(np.hypot(*known.T), axis=-1).max()) if len(known) else None
