"""Holo-tomography on a phantom of known density: errors by stage, and speed against a peer.

``python benchmarks/holo_gates.py [size_px]``: a four-distance scan of NMC spheres in a pillar of
carbon and binder (17 keV, 38 um wide, 1500 photons, as many angles as pixels, with drift,
structured flats, zingers and bad columns) goes through the reconstruction without and with the
material prior. FBP stands against astra-toolbox's on the CPU, one thread each.
"""

from __future__ import annotations

import sys
import tempfile
import time

import numpy as np
from scipy.ndimage import binary_erosion
from skimage.filters import threshold_multiotsu

from ncm_kedro.datasets.projections.phantoms import SyntheticScanFolder
from ncm_kedro.datasets.tomograms.folder import VolumeFolder
from ncm_kedro.holo.fbp import ROWS, project_sections, reconstruct_rows
from ncm_kedro.holo.geometry import electron_density_per_delta
from ncm_kedro.holo.reconstruct import plan_reconstruction
from ncm_kedro.params.holo import HoloComputeParams, HoloParams, HoloPhantomParams, PriorParams
from ncm_kedro.synthetic.holo import draw_phantom, draw_shifts, make_phantom


def measure_gates(size_px: int, folder: str) -> None:
    """Reconstruct the phantom and print what was found over what is true.

    Parameters
    ----------
    folder
        Keeps the scan and finished parts: a benchmark that was killed goes on.
    """
    params = HoloPhantomParams(
        size_px=size_px, angles=size_px, detector_pixel_um=3.0 * 384 / size_px
    )
    truth = draw_phantom(make_phantom(params), size_px, params.voxel_size_um)
    truth = truth * electron_density_per_delta(params.energy_kev)
    scans = SyntheticScanFolder(filepath=f"{folder}/raw", truth=f"{folder}/truth")
    scans.save(params)
    scan = scans.load()["pillar"]
    print("prior  NMC    CB     air     nrmse  Dice   shift_px  resolved_um  CPU_s")
    for iterations in (0, 1):
        methods = HoloParams(prior=PriorParams(iterations=iterations))
        volumes = VolumeFolder(
            filepath=f"{folder}/{iterations}", kind="image", compute={"block_edge_vx": 64}
        )
        compute = HoloComputeParams(workers=1, device="cpu")
        start = time.process_time()
        volumes.save([plan_reconstruction(scan, methods, compute)])
        spent = time.process_time() - start
        volume = volumes.load()["pillar"]
        facts = volume.attributes
        known = draw_shifts(params)[facts["shift_places"]]
        shift = np.sqrt(np.mean((np.array(facts["shifts_fitted_px"]) - known) ** 2))
        found = np.asarray(volume.array[:])
        cells = "  ".join(f"{value:.3f}" for value in compare(found, truth))
        print(f"{iterations}      {cells}  {shift:.3f}     {facts['resolution_um']:.3g}        "
              f"{spent:.0f}", flush=True)  # fmt: skip


def compare(found: np.ndarray, truth: np.ndarray) -> tuple[float, ...]:
    """Mean density of each material away from its edges over the true one, error, Dice."""
    margin = len(truth) // 6
    inner = (slice(margin, -margin),) * 3
    limit = threshold_multiotsu(found[found != 0][::7], 3)[1]
    found, truth = found[inner], truth[inner]
    masks = [truth > 1, (truth > 0.1) & (truth < 1), truth < 0.1]
    nmc, binder, air = (found[binary_erosion(mask, iterations=2)].mean() for mask in masks)
    taken = found > limit
    dice = 2 * (taken & masks[0]).sum() / (taken.sum() + masks[0].sum())
    nrmse = np.sqrt(np.mean((found - truth) ** 2)) / np.ptp(truth)
    return nmc / truth.max(), binder / truth[masks[1]].mean(), air, nrmse, dice


def time_fbp(size_px: int) -> None:
    """Time a section of our FBP and of astra's, in the same minute."""
    import astra

    angles = np.arange(size_px) * 180 / size_px
    section = np.random.default_rng(0).random((1, size_px, size_px), np.float32)
    lines = project_sections(np.repeat(section, ROWS, 0), angles, (size_px - 1) / 2, size_px)
    beam = astra.create_proj_geom("parallel", 1.0, size_px, np.deg2rad(angles))
    grid = astra.create_vol_geom(size_px, size_px)
    settings = astra.astra_dict("FBP")
    settings["ProjectorId"] = astra.create_projector("linear", beam, grid)
    settings["ProjectionDataId"] = astra.data2d.create("-sino", beam, lines[0])
    settings["ReconstructionDataId"] = astra.data2d.create("-vol", grid)
    task = astra.algorithm.create(settings)
    ours, theirs = [], []
    for _ in range(4):
        start = time.process_time()
        reconstruct_rows(lines, angles, (size_px - 1) / 2)
        ours.append((time.process_time() - start) / ROWS)
        start = time.process_time()
        astra.algorithm.run(task)
        theirs.append(time.process_time() - start)
    print(f"FBP, CPU seconds a section of {size_px} px: ours {min(ours):.3f}, astra "
          f"{min(theirs):.3f}, ratio {min(theirs) / min(ours):.2f}")  # fmt: skip


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 384
    time_fbp(384)
    with tempfile.TemporaryDirectory() as empty:
        measure_gates(size, sys.argv[2] if len(sys.argv) > 2 else empty)
