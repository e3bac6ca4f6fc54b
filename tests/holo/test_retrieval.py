"""Phase retrieval on exactly propagated waves, and against the published formula."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ncm_kedro.holo.retrieval import Misfit, PhaseRetriever
from ncm_kedro.holo.scan import describe_cone, electron_density_per_delta
from ncm_kedro.params.holo import HoloPhantomParams, RetrievalParams
from ncm_kedro.synthetic.holo import (
    BINDER_BETA,
    BINDER_DELTA,
    NMC_BETA,
    NMC_DELTA,
    make_phantom,
    project_phantom,
    propagate_projection,
)

PHANTOM = HoloPhantomParams(size_px=160, detector_pixel_um=6.0, diameter_um=(4, 9), seed=3)
NMC_RATIO = NMC_DELTA / NMC_BETA


def make_projection(*, homogeneous=False, photons=1500.0, strength=1.0):
    """A projection on the inner half of a wide grid: intensities, phase, B over -phase."""
    phantom = make_phantom(PHANTOM)
    size = PHANTOM.size_px
    nmc, binder = project_phantom(phantom, 30.0, 2 * size, PHANTOM.voxel_size_um)
    nmc, binder = strength * nmc, strength * binder * (not homogeneous)
    images = propagate_projection(nmc, binder, PHANTOM.wavelength_um, PHANTOM.fresnel)
    noisy = np.random.default_rng(0).poisson(images * photons) / photons
    k = 2 * np.pi / PHANTOM.wavelength_um
    phase = -k * (NMC_DELTA * nmc + BINDER_DELTA * binder)
    absorption = k * (NMC_BETA * nmc + BINDER_BETA * binder)
    ratio = np.where(phase < 0, absorption / np.maximum(-phase, 1e-9), 0)
    inner = (..., slice(size // 2, -size // 2), slice(size // 2, -size // 2))
    return [np.ascontiguousarray(one[inner], np.float32) for one in (noisy, phase, ratio)]


def retrieve(intensity, **settings):
    retriever = PhaseRetriever(intensity.shape[1:], PHANTOM.fresnel, RetrievalParams(**settings))
    return retriever.retrieve(intensity)


def find_error(phase, truth):
    return np.sqrt(np.mean((phase - truth) ** 2)) / np.ptp(truth)


@pytest.mark.parametrize("method", ["ctf_homogeneous", "paganin"])
def test_a_homogeneous_object_is_found_from_one_projection(method):
    intensity, truth, _ = make_projection(homogeneous=True)
    linear, refined = (
        retrieve(intensity, method=method, delta_over_beta=NMC_RATIO, refinements=steps)
        for steps in (0, 8)
    )
    assert find_error(refined, truth) <= 0.04
    assert find_error(refined, truth) < 0.6 * find_error(linear, truth)
    slope = np.polyfit(truth.ravel(), refined.ravel(), 1)[0]
    assert slope == pytest.approx(1, abs=0.04)  # particles are not too light


def test_the_general_transfer_function_needs_no_material():
    intensity, truth, _ = make_projection(photons=1e7, strength=0.05)
    guess = retrieve(intensity, method="ctf", damping_coarse=1e-3, damping_fine=1e-3, refinements=0)
    ours, known = (one - gaussian_filter(one, 6) for one in (guess, truth))
    assert np.corrcoef(ours.ravel(), known.ravel())[0, 1] >= 0.97
    assert np.polyfit(known.ravel(), ours.ravel(), 1)[0] == pytest.approx(1, abs=0.06)


def test_known_absorption_of_two_materials_removes_the_error():
    intensity, truth, ratio = make_projection()
    first = retrieve(intensity, delta_over_beta=45.0)
    params = RetrievalParams(delta_over_beta=45.0, refinements=30)
    known = PhaseRetriever(truth.shape, PHANTOM.fresnel, params).refine(intensity, first, ratio)
    assert find_error(known, truth) <= 0.6 * find_error(first, truth)


def test_the_linear_answer_is_that_of_the_published_formula():
    """Lohse et al. 2020, eq. 10, coded with complex transforms and no common table.

    hotopy and HoloTomoToolbox implement it: phase = F^-1[ sum_k 2 s_k F[I_k - 1] /
    (sum_k 4 s_k^2 + alpha) ], s_k = sin(chi_k) + (beta / delta) cos(chi_k).
    """
    intensity, *_ = make_projection()
    height, width = intensity.shape[1:]
    intensity = 1 + (intensity - 1) * np.outer(np.hanning(height), np.hanning(width))
    intensity = np.pad(intensity, ((0, 0), (160, 160), (160, 160)), constant_values=1.0)
    height, width = intensity.shape[1:]
    settings = {"delta_over_beta": 45.0, "damping_coarse": 0.02, "damping_fine": 0.02}
    params = RetrievalParams(refinements=0, **settings)
    ours = PhaseRetriever((height, width), PHANTOM.fresnel, params).solve_linear(intensity)
    margin = height // 2
    fy, fx = np.meshgrid(
        np.fft.fftfreq(height + 2 * margin), np.fft.fftfreq(width + 2 * margin), indexing="ij"
    )
    top, bottom = np.zeros(fy.shape, complex), np.zeros(fy.shape)
    for image, fresnel in zip(intensity, PHANTOM.fresnel, strict=True):
        chi = np.pi * fresnel * (fy**2 + fx**2)
        transfer = np.sin(chi) + np.cos(chi) / 45.0
        top += 2 * transfer * np.fft.fft2(np.pad(image - 1.0, margin, mode="edge"))
        bottom += 4 * transfer**2
    theirs = np.fft.ifft2(top / (bottom + 0.02)).real[margin:-margin, margin:-margin]
    assert np.sqrt(np.mean((ours - theirs) ** 2)) <= 1e-3 * np.ptp(theirs)
    assert np.polyfit(theirs.ravel(), ours.ravel(), 1)[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.gpu
def test_a_gpu_retrieves_the_same_phase():
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    intensity, truth, _ = make_projection()
    params = RetrievalParams(refinements=8)
    on_cpu, on_gpu = (
        PhaseRetriever(truth.shape, PHANTOM.fresnel, params, device).retrieve(intensity)
        for device in ("cpu", "cuda")
    )
    assert np.sqrt(np.mean((on_gpu - on_cpu) ** 2)) <= 1e-3 * np.ptp(truth)


def test_the_gradient_is_that_of_the_misfit():
    intensity, truth, ratio = make_projection()
    retriever = PhaseRetriever(truth.shape, PHANTOM.fresnel, RetrievalParams())
    misfit = Misfit(retriever, intensity, 0.8 * truth, ratio)
    origin = torch.zeros_like(misfit.find_phase(torch.zeros(())), requires_grad=True)
    first = misfit.evaluate(origin)[1]
    assert not first.requires_grad  # or each projection would keep 85 MB for good
    unit = first.abs().sum().sqrt()  # changes are counted in it
    rng = np.random.default_rng(1)
    drawn = rng.standard_normal((2, *origin.shape)).astype(np.float32) * 0.05
    at, way = torch.from_numpy(drawn) / unit
    value, gradient = misfit.evaluate(at)
    step = (misfit.evaluate(at + 0.05 * way)[0] - misfit.evaluate(at - 0.05 * way)[0]) / 0.1
    assert float(step) == pytest.approx(float((gradient * way).sum()), rel=0.02)
    assert value > 0


def test_magnified_distances_and_electron_density():
    geometry = describe_cone(17.1, [5.110, 5.464, 6.879, 9.817], 1217.0, 3.0)
    assert geometry.reference == 0
    assert geometry.pixel_um[0] == pytest.approx(3 * 5.110 / 1217)
    assert geometry.distance_um[3] == pytest.approx(9817 * (1 - 9.817 / 1217))
    water_delta = 1.387e-6  # CXRO, H2O 1 g/cm3 at 12.9 keV; 0.334 electrons per A3
    density = electron_density_per_delta(12.9) * water_delta
    assert density == pytest.approx(0.334, rel=0.01)
