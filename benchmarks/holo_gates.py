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
import torch
from scipy.ndimage import binary_erosion
from skimage.filters import threshold_multiotsu

from ncm_kedro.datasets.projections.phantoms import SyntheticScanFolder
from ncm_kedro.datasets.tomograms.folder import VolumeFolder
from ncm_kedro.holo.fbp import ROWS, mark_circle, project_sections, reconstruct_rows
from ncm_kedro.holo.reconstruct import plan_reconstruction
from ncm_kedro.holo.retrieval import PhaseRetriever
from ncm_kedro.holo.scan import electron_density_per_delta
from ncm_kedro.params.holo import (
    HoloComputeParams,
    HoloParams,
    HoloPhantomParams,
    PriorParams,
    RetrievalParams,
)
from ncm_kedro.synthetic.holo import (
    BINDER_DELTA,
    NMC_BETA,
    NMC_DELTA,
    draw_phantom,
    draw_shifts,
    make_phantom,
    project_phantom,
    propagate_projection,
)


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


def measure_steps(size_px: int) -> None:
    """Print the error of each step alone: FBP of exact lines, one projection of one material."""
    params = HoloPhantomParams(size_px=size_px, detector_pixel_um=3.0 * 384 / size_px)
    phantom, angles = make_phantom(params), np.arange(size_px) * 180 / size_px
    radius, _ = phantom.pillar_um
    inner = [(y, x, np.sqrt(r**2 - z**2)) for z, y, x, r in phantom.spheres_um if abs(z) < r]
    discs = [(0.0, 0.0, radius, BINDER_DELTA)]
    discs += [(*one, NMC_DELTA - BINDER_DELTA) for one in inner]
    places = (np.arange(4 * size_px) - (4 * size_px - 1) / 2) * params.voxel_size_um / 4
    lines, truth = np.zeros((size_px, 4 * size_px)), np.zeros((4 * size_px,) * 2, np.float32)
    turn = np.deg2rad(angles)[:, None]
    for y, x, r, delta in discs:
        across = places - x * np.cos(turn) - y * np.sin(turn)
        lines += delta * 2 * np.sqrt(np.maximum(r**2 - across**2, 0)) / params.voxel_size_um
        truth[np.hypot(places[:, None] - y, places - x) <= r] += delta
    lines = lines.reshape(size_px, size_px, 4).mean(axis=2)
    truth = truth.reshape(size_px, 4, size_px, 4).mean(axis=(1, 3))
    section = reconstruct_rows(lines[None].astype(np.float32), angles, (size_px - 1) / 2)[0]
    seen = mark_circle(size_px, size_px / 2 - 2)
    error = np.sqrt(np.mean((section - truth)[seen] ** 2)) / np.ptp(truth)
    print(f"FBP of exact line integrals: nrmse {error:.4f}")
    nmc, _ = project_phantom(phantom, 30.0, 2 * size_px, params.voxel_size_um)
    images = propagate_projection(nmc, 0 * nmc, params.wavelength_um, params.fresnel)
    noisy = np.random.default_rng(0).poisson(images * params.photons) / params.photons
    frame = (..., *[slice(size_px // 2, -size_px // 2)] * 2)
    known = -2 * np.pi / params.wavelength_um * NMC_DELTA * nmc[frame]
    retriever = PhaseRetriever(
        known.shape, params.fresnel, RetrievalParams(delta_over_beta=NMC_DELTA / NMC_BETA)
    )
    phase = retriever.retrieve(noisy[frame].astype(np.float32))
    error = np.sqrt(np.mean((phase - known) ** 2)) / np.ptp(known)
    print(f"one projection of one material: nrmse {error:.4f}")


def time_retrieval(size_px: int) -> None:
    """Time the linear answer for a projection at four distances against that of hotopy (GPL-3).

    hotopy is no dependency: ``pip install --target DIR --no-deps hotopy``, and PYTHONPATH=DIR.
    """
    try:
        from hotopy.holo import CTF
    except ImportError:
        print("retrieval: hotopy is not installed")
        return
    torch.set_num_threads(1)
    params = HoloPhantomParams(size_px=size_px, detector_pixel_um=3.0 * 384 / size_px)
    lines = project_phantom(make_phantom(params), 30.0, size_px, params.voxel_size_um)
    images = propagate_projection(*lines, params.wavelength_um, params.fresnel)
    window = np.outer(np.hanning(size_px), np.hanning(size_px))
    images = (1 + (images - 1) * window).astype(np.float32)  # it pads by 1, we by the outermost
    damped = RetrievalParams(refinements=0, damping_coarse=0.02, damping_fine=0.02)
    ours = PhaseRetriever((size_px, size_px), params.fresnel, damped)
    theirs = CTF((size_px, size_px), 1 / np.array(params.fresnel), alpha=0.01, npad=2,
                 betadelta=1 / damped.delta_over_beta, dtype=torch.float32)  # fmt: skip
    phase, known = ours.solve_linear(images), theirs(images).numpy()
    slope = np.polyfit(known.ravel(), phase.ravel(), 1)[0]
    error = np.sqrt(np.mean((phase - known) ** 2)) / np.ptp(known)
    seconds = []
    for retrieve in (ours.solve_linear, theirs):
        spent = []
        for _ in range(10):
            start = time.process_time()
            retrieve(images)
            spent.append(time.process_time() - start)
        seconds.append(min(spent))
    print(f"linear CTF, CPU seconds a projection of {size_px} px: ours {seconds[0]:.4f}, hotopy "
          f"{seconds[1]:.4f}, ratio {seconds[1] / seconds[0]:.2f}; slope {slope:.5f}, rms "
          f"difference {error:.1e} of the range")  # fmt: skip


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 384
    time_fbp(384)
    time_retrieval(384)
    measure_steps(size)
    with tempfile.TemporaryDirectory() as empty:
        measure_gates(size, sys.argv[2] if len(sys.argv) > 2 else empty)
