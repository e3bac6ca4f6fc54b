"""Synthetic frames against their ground truth, and the folder that they are written to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from ncm_kedro.errors import StoreError
from ncm_kedro.params.synthesise import AdditiveParams, SynthesiseSemParams
from ncm_kedro.synthetic.sem.frames import SyntheticFrame, iter_sem_frames, write_sem_frames
from ncm_kedro.synthetic.sem.plan import draw_path, plan_series

SMALL = {
    "compositions": ("333", "811"),
    "states": ("pristine", "cycled"),
    "frames_per_class": 4,
    "series_per_class": 1,
    "width_px": 320,
    "height_px": 256,
    "lco_frames": 2,
}
ONE_CLASS = {"states": ("pristine",), "compositions": ("811",), "frames_per_class": 1}


def make_params(**changes: object) -> SynthesiseSemParams:
    return SynthesiseSemParams(**{**SMALL, **changes})


@pytest.fixture(scope="module")
def frames() -> list[SyntheticFrame]:
    return list(iter_sem_frames(make_params()))


@pytest.fixture(scope="module")
def clean_frames() -> list[SyntheticFrame]:
    """Frames without noise."""
    return list(iter_sem_frames(make_params(noise=0.0, frames_per_class=3)))


def test_special_cases_are_present_and_told_apart(frames: list[SyntheticFrame]) -> None:
    kinds = [f.truth["kind"] for f in frames]
    assert kinds.count("clipped") == 2
    assert kinds.count("no_sidecar") == kinds.count("malformed_sidecar") == 1
    assert kinds.count("lco") == 2
    assert kinds.count("bare") >= 1
    assert kinds.count("normal") >= 6
    assert sum(len(f.stray_files) for f in frames) == 4
    assert {len(c) for f in frames for c in f.stray_files.values()} == {1}


def test_lco_token_alone_proves_nothing(frames: list[SyntheticFrame]) -> None:
    richest = [f for f in frames if f.truth["class"] == "811" and f.sidecar_bytes]
    assert {f.truth["kind"] == "lco" for f in richest} == {True, False}
    assert all(b"LCO" in f.sidecar_bytes or f.truth["kind"] == "malformed_sidecar" for f in richest)
    others = [f for f in frames if f.truth["class"] != "811" and f.sidecar_bytes]
    assert not any(b"LCO" in f.sidecar_bytes for f in others)


def test_frames_do_not_depend_on_the_number_of_workers() -> None:
    one, other = (list(iter_sem_frames(make_params(**ONE_CLASS, workers=n)))
                  for n in (1, 2))  # fmt: skip
    assert len(one) == 3
    assert [(f.truth, f.sidecar_bytes) for f in one] == [(f.truth, f.sidecar_bytes) for f in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.image_yx, b.image_yx)


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


def test_noise_free_overlaps_are_identical(clean_frames: list[SyntheticFrame]) -> None:
    pairs = [pair for series in group_series(clean_frames) for pair in pairwise(series)]
    for pair in pairs:
        np.testing.assert_array_equal(*cut_overlap(*pair, (192, 320)))
    assert len(pairs) >= 4


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


def test_special_cases_can_be_left_out() -> None:
    plain = make_params(**ONE_CLASS, special_cases=False)
    (frame,) = iter_sem_frames(plain)
    assert (frame.truth["class"], frame.truth["kind"]) == ("811", "normal")
    assert frame.sidecar_bytes
    assert not frame.stray_files
    without = plan_series(make_params(special_cases=False))
    assert {kind for plan in without for kind in plan.kinds} == {"normal"}
    assert not any(plan.foil or plan.stray or plan.lco for plan in without)


def test_additives_name_their_folders_and_truth() -> None:
    hiding = AdditiveParams(name="VC2PS1", ageing_signal=0.0, boundary_jitter=0.03)
    settings = {"compositions": ("811",), "frames_per_class": 1, "special_cases": False}
    both = make_params(**settings, additives=(AdditiveParams(), hiding))
    frames = {frame.truth["class"]: frame for frame in iter_sem_frames(both)}
    assert list(frames) == ["811", "811__VC2PS1", "811_cycled", "811_cycled__VC2PS1"]
    frame = frames["811_cycled__VC2PS1"]
    columns = ("additive", "state", "ageing_signal", "boundary_jitter")
    assert [frame.truth[name] for name in columns] == ["VC2PS1", "cycled", 0.0, 0.03]
    assert frames["811_cycled"].truth["ageing_signal"] == 1.0
    assert frame.file.startswith("811_cycled__VC2PS1/")
    # The electrode without additive is the one of a set without additives.
    alone = next(iter_sem_frames(make_params(**settings)))
    np.testing.assert_array_equal(frames["811"].image_yx, alone.image_yx)


@pytest.mark.parametrize(
    "changes",
    [
        {"overlap_range": (0.9, 0.6)},
        {"compositions": ("333", "333")},
        {"compositions": ("NCA",)},
        {"series_per_class": 9, "frames_per_class": 8},
        {"class_signal": 1.5},
        {"states": ()},
        {"additives": (AdditiveParams(name="A"), AdditiveParams(name="A", ageing_signal=0.5))},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make_params(**changes)


def list_files(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def test_folder_holds_grey_frames_sidecars_and_strays(
    frames: list[SyntheticFrame], tmp_path: Path
) -> None:
    truth = write_sem_frames(frames, tmp_path / "sem")
    expected = {f.file for f in frames} | {".ncm_synthetic"}
    expected |= {f"{f.file}.txt" for f in frames if f.sidecar_bytes is not None}
    expected |= {name for f in frames for name in f.stray_files}
    assert list_files(tmp_path / "sem") == expected
    assert [p.name for p in tmp_path.iterdir()] == ["sem"]
    with Image.open(tmp_path / "sem" / frames[0].file) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "L", (320, 256))
        read = np.asarray(image, dtype=float)
    assert np.abs(read - frames[0].image_yx).mean() < 6
    assert list(truth["file"]) == [f.file for f in frames]
    assert pd.api.types.is_datetime64_any_dtype(truth["acquired_at"])
    assert pd.api.types.is_integer_dtype(truth["x_px"])
    assert truth["acquired_at"].is_unique
    assert truth.notna().all().all()


def test_a_failed_run_leaves_what_was_there(frames: list[SyntheticFrame], tmp_path: Path) -> None:
    folder = tmp_path / "sem"
    write_sem_frames(frames[:3], folder)
    before = list_files(folder)

    def break_off() -> Iterator[SyntheticFrame]:
        yield frames[0]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_sem_frames(break_off(), folder)
    assert list_files(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == ["sem"]
    write_sem_frames(frames[:1], folder)
    assert len([f for f in list_files(folder) if f.endswith(".jpg")]) == 1


def test_places_that_cannot_be_written_are_refused(
    frames: list[SyntheticFrame], tmp_path: Path
) -> None:
    own = tmp_path / "sem" / "333" / "mine.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"precious")
    for folder, given in ((tmp_path / "sem", frames), (own / "sem", frames), (tmp_path / "a", [])):
        with pytest.raises(StoreError):
            write_sem_frames(given, folder)
    assert list_files(tmp_path) == {"sem/333/mine.jpg"}
    assert own.read_bytes() == b"precious"
