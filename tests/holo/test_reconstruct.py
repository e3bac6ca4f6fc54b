"""A whole phantom scan with drift, flats, zingers and stripes, back to its electron density."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from phantom_scans import SMALL, make_scan, open_target

from ncm_kedro.errors import SettingsError, TomogramError
from ncm_kedro.holo.reconstruct import plan_reconstruction
from ncm_kedro.holo.scan import electron_density_per_delta
from ncm_kedro.holo.survey import read_intensity, survey_scan
from ncm_kedro.holo.tasks import (
    PhaseTask,
    SectionTask,
    describe_materials,
    mix_absorption,
)
from ncm_kedro.params.holo import (
    CorrectionParams,
    HoloComputeParams,
    HoloParams,
    PriorParams,
    RetrievalParams,
)
from ncm_kedro.synthetic import holo as synthetic
from ncm_kedro.synthetic.holo import draw_phantom, draw_shifts, make_phantom

COMPUTE = HoloComputeParams(workers=1, device="cpu")
PARAMS = HoloParams(retrieval=RetrievalParams(refinements=4))
APART = HoloParams(  # what does not depend on the shifts is found without them
    corrections=CorrectionParams(register_distances=False),
    retrieval=RetrievalParams(refinements=0),
)


@pytest.fixture(scope="module")
def truth():
    return draw_phantom(make_phantom(SMALL), SMALL.size_px, SMALL.voxel_size_um)


def inner(volume_zyx):
    return volume_zyx[16:80, 16:80, 16:80]


def compare(volume_zyx, delta_zyx):
    """Mean electron density found over the true one: particles, binder; then the rms error."""
    density = inner(delta_zyx) * electron_density_per_delta(17.0)
    found = inner(volume_zyx)
    means = [found[density > 1].mean() / 1.358, 0.0]
    binder = (density > 0.1) & (density < 1)
    means[1] = found[binder].mean() / density[binder].mean()
    return *means, np.sqrt(np.mean((found - density) ** 2)) / density.max()


def test_a_scan_comes_back_as_electron_density(small_scan, target, truth):
    plan = plan_reconstruction(small_scan, PARAMS, COMPUTE)
    made = target(plan)
    plan.write(made)
    particles, _, error = compare(np.asarray(made.array[:]), truth)
    facts = dict(made.array.attrs)
    known = draw_shifts(SMALL)[facts["shift_places"]]
    assert np.sqrt(np.mean((np.array(facts["shifts_fitted_px"]) - known) ** 2)) <= 0.1
    assert particles == pytest.approx(1, abs=0.1)
    assert error <= 0.12
    assert plan.attributes["grey_unit"] == "e/A3"
    assert facts["centre_px"] == pytest.approx((SMALL.size_px - 1) / 2, abs=0.5)
    assert not facts["excluded_projections"]


@pytest.fixture(scope="module")
def linear(small_scan, surveyed, tmp_path_factory):
    """The plan of a reconstruction that is not refined, and its volume."""
    params = HoloParams(retrieval=RetrievalParams(refinements=0))
    plan = plan_reconstruction(replace(small_scan, centre_px=47.5), params, COMPUTE)
    made = open_target(tmp_path_factory.mktemp("linear"), plan)
    shutil.copytree(surveyed, made.work, dirs_exist_ok=True)
    plan.write(made)
    return plan, np.asarray(made.array[:])


def test_a_killed_run_goes_on_to_the_same_volume(linear, target, surveyed, monkeypatch):
    plan, whole = linear
    broken = target(plan)
    shutil.copytree(surveyed, broken.work, dirs_exist_ok=True)
    calls = {"phase": 0, "section": 0}

    def count(kind, task, limit):
        original = task.__call__

        def call(self, block):
            calls[kind] += 1
            if calls[kind] == limit:
                raise KeyboardInterrupt
            return original(self, block)

        return call

    monkeypatch.setattr(PhaseTask, "__call__", count("phase", PhaseTask, 9))
    monkeypatch.setattr(SectionTask, "__call__", count("section", SectionTask, 3))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            plan.write(broken)
    plan.write(broken)
    np.testing.assert_array_equal(np.asarray(broken.array[:]), whole)
    assert calls["phase"] <= -(-SMALL.angles // 4) + 1
    assert calls["section"] <= 3 + 1


def test_another_device_of_torch_gives_the_same_volume(linear, target, surveyed):
    plan, whole = linear
    made = target(plan)
    shutil.copytree(surveyed, made.work, dirs_exist_ok=True)
    replace(plan.write, device="cpu:0")(made)  # torch follows the rays, numba on the plain cpu
    np.testing.assert_allclose(made.array[:], whole, atol=1e-4 * np.ptp(whole))


@pytest.mark.slow
def test_movement_that_all_distances_share_is_found_and_corrected(target, truth, monkeypatch):
    still = synthetic.draw_shifts
    time = np.linspace(0, 1, SMALL.angles)
    moved = np.stack([1.5 * np.sin(9 * time) + 2 * (time > 0.6), 2 * np.sin(14 * time)], axis=1)
    turn = np.pi * np.arange(SMALL.angles) / SMALL.angles
    waves = np.stack([np.ones_like(turn), np.cos(turn), np.sin(turn)], axis=1)
    moved[:, 0] -= np.median(moved[:, 0])
    moved[:, 1] -= waves @ np.linalg.lstsq(waves, moved[:, 1], rcond=None)[0]  # moves the whole
    monkeypatch.setattr(synthetic, "draw_shifts", lambda params: still(params) + moved[:, None])
    scan = make_scan(SMALL)
    made = target(plan_reconstruction(scan, PARAMS, COMPUTE))
    errors = []
    for correct in (False, True):
        corrections = CorrectionParams(correct_motion=correct)
        params = PARAMS.model_copy(update={"corrections": corrections})
        plan_reconstruction(scan, params, COMPUTE).write(made)
        for later in ("centre.json", "sections"):  # survey and phases are the same for both
            (made.work / later).rename(made.work / f"{later}.{correct}")
        errors.append(compare(np.asarray(made.array[:]), truth)[2])
        facts = dict(made.array.attrs)
        assert facts["motion_corrected"] is correct
        assert facts["motion_rms_px"] == pytest.approx(np.sqrt(np.mean(moved**2, axis=0)), rel=0.1)
    assert errors[1] <= min(0.12, 0.75 * errors[0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_before_anything_is_computed(small_scan):
    compute = HoloComputeParams(workers=1, device="cuda")
    with pytest.raises(SettingsError, match="GPU"):
        plan_reconstruction(small_scan, PARAMS, compute)


def test_frames_of_nan_are_excluded_by_name_and_too_many_are_an_error(small_scan, target):
    def spoil(first, last):
        def read(numbers):
            frames = small_scan.distances[1].read(numbers).astype(np.float32)
            frames[(numbers >= first) & (numbers < last)] = np.nan
            return frames

        distances = list(small_scan.distances)
        distances[1] = replace(distances[1], read=read)
        return replace(small_scan, distances=tuple(distances), centre_px=47.5)

    plan = plan_reconstruction(spoil(30, 32), APART, COMPUTE)
    made = target(plan)
    plan.write(made)
    assert made.array.attrs["excluded_projections"] == [10, 11]
    assert np.isfinite(np.asarray(made.array[:])).all()
    plan = plan_reconstruction(spoil(30, 60), APART, COMPUTE)
    with pytest.raises(TomogramError, match="30 of 90"):
        plan.write(type(made)(made.array, {}, made.work / "other"))


def test_one_distance_cannot_tell_phase_from_absorption(small_scan):
    alone = replace(small_scan, distances=small_scan.distances[:1])
    with pytest.raises(TomogramError, match="two distances"):
        plan_reconstruction(alone, HoloParams(retrieval=RetrievalParams(method="ctf")), COMPUTE)


def test_pixels_without_beam_are_told(small_scan, tmp_path):
    one = small_scan.distances[0]

    def read(numbers):
        frames = one.read(numbers).astype(np.float32)
        frames[:, :, :24] = 100  # as dark as the darks
        return frames

    scan = replace(small_scan, distances=(replace(one, read=read),))
    assert survey_scan(scan, PARAMS, COMPUTE, tmp_path).unlit_k == pytest.approx(0.25)


def test_a_perfect_detector_has_no_pattern_though_the_sample_stands_on_the_axis(tmp_path):
    """Taken for a pattern, its own structure (0.028) made particles 3 % too light."""
    scan = make_scan(SMALL.model_copy(update={"defects": 0.0}))
    assert survey_scan(scan, APART, COMPUTE, tmp_path).pattern_yx.std() <= 0.003


def test_flats_count_at_the_time_when_they_were_taken(small_scan, tmp_path):
    """Darks and flats stand before the projections in the file: numbers there are not times."""
    beam = np.full((SMALL.size_px,) * 2, 1000.0, np.float32)
    first = len(small_scan.distances[0].dark_frames) + len(small_scan.distances[0].flat_frames) // 2

    def read(numbers):
        fade = 1 - 0.4 * np.clip(numbers - first, 0, SMALL.angles) / SMALL.angles
        flat = np.isin(numbers, small_scan.distances[0].flat_frames)
        return np.where(flat, 1, 0.7)[:, None, None] * fade[:, None, None] * beam

    one = replace(small_scan.distances[0], read=read, dark_frames=np.array([], int))
    scan = replace(small_scan, distances=(one,))
    survey_scan(scan, HoloParams(), COMPUTE, tmp_path)
    found, usable = read_intensity(scan, HoloParams(), tmp_path, 0, np.arange(SMALL.angles))
    assert usable.all()
    np.testing.assert_allclose(found, 0.7, rtol=1e-4)


def test_a_ray_has_the_absorption_of_the_materials_that_it_went_through():
    """A dense disc within a light one: through both, through the light one alone, through air."""
    edge = np.arange(64) - 31.5
    away = np.hypot(edge[:, None], edge[None])
    section = np.where(away < 8, 1.0, np.where(away < 24, 0.2, 0.0)).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 64, 64)).astype(np.float32)
    volume, prior = section + noise, PriorParams(delta_over_beta=(900.0, 29.0))
    low, high = limits = describe_materials(volume, prior)
    assert 0 < low < 0.2 < high < 1
    mixed = mix_absorption(
        volume, limits, prior, angles_deg=np.array([0.0, 37.0]), centre_px=31.5, width_px=64
    )
    both = (16 / 29 + 0.2 * 32 / 900) / (16 + 0.2 * 32)
    np.testing.assert_allclose(mixed[:, :, 31], both, rtol=0.03)
    np.testing.assert_allclose(mixed[:, :, [12, 51]], 1 / 900, rtol=1e-5)
    np.testing.assert_allclose(mixed[:, :, [2, 61]], 1 / 29, rtol=1e-5)


@pytest.mark.slow
def test_known_materials_bring_the_binder_to_its_density(small_scan, target, surveyed, truth):
    first = PARAMS.model_copy(update={"retrieval": RetrievalParams(refinements=6)})
    with_prior = first.model_copy(update={"prior": PriorParams(iterations=1, refinements=12)})
    plan = plan_reconstruction(replace(small_scan, centre_px=47.5), with_prior, COMPUTE)
    made = target(plan)
    shutil.copytree(surveyed, made.work, dirs_exist_ok=True)
    plan.write(made)
    particles, binder, error = compare(np.asarray(made.array[:]), truth)
    assert particles == pytest.approx(1, abs=0.1)
    assert binder == pytest.approx(1, abs=0.1)
    assert error <= 0.09
