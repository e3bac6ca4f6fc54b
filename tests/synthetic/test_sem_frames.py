"""Synthetic frames against their own truth."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from ncm_kedro.params.synthesise import BANNER_PX, SynthesiseSemParams
from ncm_kedro.synthetic.sem.frames import SyntheticFrame, iter_sem_frames
from ncm_kedro.synthetic.sem.plan import draw_path, plan_series

SMALL = {
    "compositions": ("333", "811"),
    "states": ("pristine", "cycled"),
    "frames_per_class": 4,
    "series_per_class": 2,
    "width_px": 320,
    "height_px": 256,
    "lco_frames": 2,
}


def make_params(**changes: object) -> SynthesiseSemParams:
    return SynthesiseSemParams(**{**SMALL, **changes})


@pytest.fixture(scope="module")
def frames() -> list[SyntheticFrame]:
    return list(iter_sem_frames(make_params()))


def test_special_cases_are_present_and_told_apart(frames: list[SyntheticFrame]) -> None:
    kinds = [f.truth["kind"] for f in frames]
    assert kinds.count("clipped") == 2
    assert kinds.count("no_sidecar") == kinds.count("malformed_sidecar") == 1
    assert kinds.count("lco") == 2
    assert kinds.count("bare") >= 1
    assert kinds.count("normal") >= 6
    assert sum(len(f.stray_files) for f in frames) == 4
    assert {len(c) for f in frames for c in f.stray_files.values()} == {1}


def test_bare_and_clipped_frames_look_it(frames: list[SyntheticFrame]) -> None:
    for frame in frames:
        view = frame.image_yx[:-BANNER_PX]
        saturated = float((view == 255).mean())
        assert (saturated > 0.4) == (frame.truth["kind"] == "clipped")
        if frame.truth["kind"] == "bare":
            assert frame.truth["class"] == "333_cycled"
            assert frame.truth["bare_fraction"] >= 0.1


def test_lco_token_alone_proves_nothing(frames: list[SyntheticFrame]) -> None:
    richest = [f for f in frames if f.truth["class"] == "811" and f.sidecar_bytes]
    assert {f.truth["kind"] == "lco" for f in richest} == {True, False}
    assert all(b"LCO" in f.sidecar_bytes or f.truth["kind"] == "malformed_sidecar" for f in richest)
    others = [f for f in frames if f.truth["class"] != "811" and f.sidecar_bytes]
    assert not any(b"LCO" in f.sidecar_bytes for f in others)


def test_lco_plates_are_smoother_than_the_particles_of_their_folder() -> None:
    params = make_params(noise=0.0, acquisition_confound=0.0)
    detail = defaultdict(list)
    for frame in iter_sem_frames(params):
        if frame.truth["class"] == "811" and frame.truth["kind"] in ("lco", "normal"):
            view = frame.image_yx[:-BANNER_PX].astype(float)
            detail[frame.truth["kind"]].append(np.abs(np.diff(view, axis=1)).mean() / view.std())
    assert max(detail["lco"]) < 0.75 * min(detail["normal"])


def test_files_are_unique_and_belong_to_their_class(frames: list[SyntheticFrame]) -> None:
    files = [f.file for f in frames]
    assert len(set(files)) == len(files) == 4 * 4 + 2
    assert all(f.file.startswith(f"{f.truth['class']}/ETRI_ 20 kV_SE") for f in frames)
    assert {f.truth["class"] for f in frames} == {"333", "333_cycled", "811", "811_cycled"}


def test_frames_do_not_depend_on_the_number_of_workers(frames: list[SyntheticFrame]) -> None:
    again = list(iter_sem_frames(make_params(workers=2)))
    assert [f.truth for f in again] == [f.truth for f in frames]
    assert [f.sidecar_bytes for f in again] == [f.sidecar_bytes for f in frames]
    for one, other in zip(frames, again, strict=True):
        np.testing.assert_array_equal(one.image_yx, other.image_yx)


def test_another_seed_gives_other_frames(frames: list[SyntheticFrame]) -> None:
    other = next(iter(iter_sem_frames(make_params(seed=7))))
    assert (other.image_yx != frames[0].image_yx).mean() > 0.5


def cut_overlap(
    one: SyntheticFrame, other: SyntheticFrame, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return what two frames of a series show of the area that both see."""
    dy, dx = (int(other.truth[k]) - int(one.truth[k]) for k in ("y_px", "x_px"))
    height, width = shape
    rows, columns = height - abs(dy), width - abs(dx)
    a = one.image_yx[max(dy, 0) : max(dy, 0) + rows, max(dx, 0) : max(dx, 0) + columns]
    b = other.image_yx[max(-dy, 0) : max(-dy, 0) + rows, max(-dx, 0) : max(-dx, 0) + columns]
    return a, b


def group_series(frames: list[SyntheticFrame]) -> list[list[SyntheticFrame]]:
    series = defaultdict(list)
    for frame in frames:
        if frame.truth["kind"] != "clipped":
            series[frame.truth["series"]].append(frame)
    return list(series.values())


def test_noise_free_overlaps_are_identical() -> None:
    params = make_params(noise=0.0, frames_per_class=3, series_per_class=1)
    shape = (params.view_height_px, params.width_px)
    compared = 0
    for series in group_series(list(iter_sem_frames(params))):
        for one, other in pairwise(series):
            a, b = cut_overlap(one, other, shape)
            np.testing.assert_array_equal(a, b)
            compared += 1
    assert compared >= 4


def test_noisy_overlaps_correlate_and_other_places_do_not(frames: list[SyntheticFrame]) -> None:
    shape = (192, 320)
    groups = group_series(frames)
    pairs = [cut_overlap(*pair, shape) for g in groups for pair in pairwise(g)]
    true = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs if a.std() > 5]
    assert min(true) > 0.6
    firsts = [
        g[0].image_yx[: shape[0]].astype(float).ravel() for g in groups if "333_c" not in g[0].file
    ]
    false = [np.corrcoef(a, b)[0, 1] for a, b in pairwise(firsts)]
    assert max(np.abs(false)) < 0.15


@pytest.mark.parametrize("revisit", [False, True])
def test_neighbours_share_the_wanted_area(revisit: bool) -> None:
    params = SynthesiseSemParams()
    size = np.array([params.view_height_px, params.width_px])
    for seed in range(20):
        path = draw_path(16, params, revisit, np.random.default_rng(seed))
        kept = np.prod(1 - np.abs(np.diff(path, axis=0)) / size, axis=1)
        assert kept.min() > 0.60
        assert kept.max() < 0.97
        assert path.min() == 0
        assert (path.max(axis=0) <= 2 * size).all()


def test_a_revisiting_series_comes_back() -> None:
    params = SynthesiseSemParams()
    size = np.array([params.view_height_px, params.width_px])

    def share_of_start_seen_last(revisit: bool) -> float:
        shares = []
        for seed in range(40):
            path = draw_path(14, params, revisit, np.random.default_rng(seed))
            gap = np.abs(path[-1] - path[0]) / size
            shares.append(np.prod(np.clip(1 - gap, 0, 1)))
        return float(np.mean(shares))

    assert share_of_start_seen_last(True) > 0.3 + share_of_start_seen_last(False)


def test_no_confound_records_every_class_in_every_session() -> None:
    plans = [p for p in plan_series(SynthesiseSemParams(acquisition_confound=0.0)) if not p.lco]
    by_class = defaultdict(set)
    for plan in plans:
        by_class[plan.class_name].add(plan.recording)
    assert len(set(map(frozenset, by_class.values()))) == 1
    assert not any(p.tied for p in plans)


def test_full_confound_gives_every_class_its_own_settings() -> None:
    plans = [p for p in plan_series(SynthesiseSemParams(acquisition_confound=1.0)) if not p.lco]
    focus = defaultdict(set)
    for plan in plans:
        focus[plan.class_name].add(plan.recording.focus)
    assert all(len(values) == 1 for values in focus.values())
    assert len(set.union(*focus.values())) == 12


def test_confound_share_is_kept_on_average() -> None:
    shares = [
        np.mean(
            [p.tied for p in plan_series(SynthesiseSemParams(acquisition_confound=0.3, seed=s))]
        )
        for s in range(30)
    ]
    assert np.mean(shares) == pytest.approx(0.3, abs=0.04)


def test_settings_show_in_the_grey_levels(frames: list[SyntheticFrame]) -> None:
    recordings = {p.series: p.recording for p in plan_series(make_params())}
    plain = [f for f in frames if f.truth["kind"] in ("normal", "no_sidecar")]
    plain = [f for f in plain if f.truth["bare_fraction"] == 0]
    found = [float(f.image_yx[:-BANNER_PX].mean()) for f in plain]
    wanted = [recordings[str(f.truth["series"])].mean_grey for f in plain]
    np.testing.assert_allclose(found, wanted, atol=12)


def test_frame_times_never_collide() -> None:
    plans = plan_series(SynthesiseSemParams(acquisition_confound=0.5, special_cases=False))
    spans = sorted((p.started_at, len(p.kinds)) for p in plans)
    gaps = [(b[0] - a[0]).total_seconds() - 20.5 * a[1] for a, b in pairwise(spans)]
    assert min(gaps) > 60


def test_special_cases_can_be_left_out() -> None:
    frames = list(iter_sem_frames(make_params(special_cases=False, frames_per_class=2)))
    assert {f.truth["kind"] for f in frames} == {"normal"}
    assert all(f.sidecar_bytes and not f.stray_files for f in frames)


def test_one_frame_of_one_class_is_enough() -> None:
    params = make_params(
        compositions=("622",), states=("pristine",), frames_per_class=1, series_per_class=1
    )
    frames = list(iter_sem_frames(params))
    assert [f.truth["class"] for f in frames] == ["622"] * 3


@pytest.mark.parametrize(
    "changes",
    [
        {"overlap_range": (0.9, 0.6)},
        {"compositions": ("333", "333")},
        {"compositions": ("NCA",)},
        {"series_per_class": 9, "frames_per_class": 8},
        {"class_signal": 1.5},
        {"states": ()},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make_params(**changes)
