"""Plan of a synthetic data set: which series hold which frames, where, when and how recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.params.synthesise import AdditiveParams, SynthesiseSemParams
from ncm_kedro.synthetic.sem.particles import measure_nickel_fraction


@dataclass(frozen=True)
class Recording:
    """Settings of the microscope during one session, and what they do to the grey values.

    Attributes
    ----------
    session
        Name of the session.
    mean_grey, grey_spread
        Mean and standard deviation of the grey levels (0-255) of a plain electrode.
    defocus_px
        Standard deviation of the focus blur in px.
    noise_grey
        Standard deviation of the shot noise at mean grey.
    focus, brightness, contrast, detector, collector, spot_size, stig_x, stig_y, gun_align
        Settings in the vendor's units.
    emission_ua
        Emission current in uA.
    """

    session: str
    mean_grey: float
    grey_spread: float
    defocus_px: float
    noise_grey: float
    focus: int
    brightness: int
    contrast: int
    detector: int
    collector: int
    spot_size: int
    stig_x: int
    stig_y: int
    gun_align: int
    emission_ua: int


def draw_recordings(names: Sequence[str], rng: np.random.Generator) -> list[Recording]:
    """Draw the settings of sessions, spread evenly over their ranges and all different.

    Brightness and contrast settings follow from mean and spread of the grey levels, and contrast
    amplifies the noise; focus and the others are drawn on their own, as a sample's height is.
    """
    count = len(names)
    levels = np.stack([(rng.permutation(count) + 0.5) / count for _ in range(8)], axis=1)
    return [_scale_recording(name, row) for name, row in zip(names, levels, strict=True)]


def _scale_recording(name: str, level: NDArray[np.float64]) -> Recording:
    """Scale eight numbers in 0-1 to the ranges seen in the published sidecars."""
    mean_grey, grey_spread = 72 + 66 * level[0], 24 + 26 * level[1]
    return Recording(
        session=name,
        mean_grey=float(mean_grey),
        grey_spread=float(grey_spread),
        defocus_px=float(0.7 + 0.5 * level[2]),
        noise_grey=float(grey_spread * (0.10 + 0.10 * level[3])),
        focus=round(1862 + 470 * level[4]),
        brightness=round(68 + 37 * level[0]),
        contrast=round(-169 + 231 * level[1]),
        detector=round(105 + 72 * level[5]),
        collector=round(88 + 156 * level[6]),
        spot_size=round(127 - 40 * level[3]),
        stig_x=round(-2 + 2 * level[7]),
        stig_y=round(-6 + 7 * level[7]),
        gun_align=round(-9 + 9 * level[5]),
        emission_ua=110 if level[6] > 0.5 else 120,
    )


def assign_own_sessions(
    class_count: int, series_count: int, confound: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose the series that are recorded in their class's own session.

    Parameters
    ----------
    confound
        Expected fraction of tied series, 0-1.

    Returns
    -------
    ndarray of bool, (class_count, series_count)
    """
    tied = np.zeros((class_count, series_count), np.bool_)
    for row in tied:
        count = int(confound * series_count + rng.random())
        row[rng.permutation(series_count)[:count]] = True
    return tied


FRAME_INTERVAL = timedelta(seconds=20.5)
"""Time from one frame of a series to the next."""

_FIRST_SESSION = datetime(2019, 9, 2, 0, 9, 36)
_BILAYER_PATH = "D:\\DATA\\KJY\\190902_bilayered_SuperP+PVdF_LCO+SuperP+PCL\\"
_PLAN_KEY = 1_000_000
_LCO_KEY = 900_000

NORMAL, BARE, CLIPPED, LCO = "normal", "bare", "clipped", "lco"
NO_SIDECAR, MALFORMED_SIDECAR = "no_sidecar", "malformed_sidecar"


@dataclass(frozen=True)
class SeriesPlan:
    """One drift series, before it is rendered.

    Attributes
    ----------
    class_name, composition, state, additive
        The class that the frames are filed under.
    series
        Unique name, ``<class>/s<k>`` or ``<class>/lco``.
    key
        Spawn key of the series' random numbers.
    kinds
        Kind of each frame; bare frames are only known once rendered.
    first_number
        Running number of the first frame.
    started_at
        Time of the first frame.
    recording, tied
        Settings, and whether they belong to the class's own session.
    folder
        Windows folder that the sidecars name.
    foil, revisit, lco, stray
        Whether the series runs onto bare foil, comes back to where it started, shows LCO, or
        has stray text files beside it.
    """

    class_name: str
    composition: str
    state: str
    series: str
    key: tuple[int, int]
    kinds: tuple[str, ...]
    first_number: int
    started_at: datetime
    recording: Recording
    tied: bool
    folder: str
    additive: AdditiveParams
    foil: bool = False
    revisit: bool = False
    lco: bool = False
    stray: bool = False


def name_class(composition: str, state: str, states: tuple[str, ...], additive: str = "") -> str:
    """Return the folder name of a class; the least damaged state is omitted."""
    name = composition if state == states[0] else f"{composition}_{state}"
    return f"{name}__{additive}" if additive else name


def plan_series(params: SynthesiseSemParams) -> list[SeriesPlan]:
    """Plan all series of a data set, class by class; the same settings give the same plan."""
    rng = np.random.default_rng(np.random.SeedSequence(params.seed, spawn_key=(_PLAN_KEY,)))
    classes = list(product(params.compositions, params.states, params.additives))
    shared = draw_recordings([f"session{k}" for k in range(params.series_per_class)], rng)
    names = [name_class(c, s, params.states, a.name) for c, s, a in classes]
    own = draw_recordings([f"session_{name}" for name in names], rng)
    tied = assign_own_sessions(
        len(classes), params.series_per_class, params.acquisition_confound, rng
    )
    counts = [
        len(part)
        for part in np.array_split(np.arange(params.frames_per_class), params.series_per_class)
    ]
    plans = []
    for index, (composition, state, additive) in enumerate(classes):
        number = int(rng.integers(0, 1600))
        for k, count in enumerate(counts):
            own_session = bool(tied[index, k])
            plans.append(
                SeriesPlan(
                    class_name=names[index],
                    composition=composition,
                    state=state,
                    series=f"{names[index]}/s{k}",
                    key=(index, k),
                    kinds=(NORMAL,) * count,
                    first_number=number,
                    started_at=_schedule(index, k, own_session, counts),
                    recording=own[index] if own_session else shared[k],
                    tied=own_session,
                    folder=_BILAYER_PATH,
                    additive=additive,
                    revisit=count >= 5 and k % 2 == 1,
                )
            )
            number += count + int(rng.integers(0, 12))
    plans = [replace(p, folder=_name_folder(p, params)) for p in plans]
    return add_special_cases(plans, params, rng) if params.special_cases else plans


def add_special_cases(
    plans: list[SeriesPlan], params: SynthesiseSemParams, rng: np.random.Generator
) -> list[SeriesPlan]:
    """Plant foil, clipped, badly documented and LCO frames and stray files in a plan.

    A data set with too few frames gets as many of these as there is room for.
    """
    plans = list(plans)
    aged = [i for i, p in enumerate(plans) if p.state == params.states[-1]]
    first_aged = [i for i in aged if plans[i].composition == params.compositions[0]]
    foil = first_aged[-1]
    plans[foil] = replace(plans[foil], foil=True)
    free = [(i, f) for i, p in enumerate(plans) if i != foil for f in range(len(p.kinds))]
    for share, kind in (
        (0.15, CLIPPED),
        (0.72, CLIPPED),
        (0.33, NO_SIDECAR),
        (0.55, MALFORMED_SIDECAR),
    ):
        if free:
            i, f = free.pop(int(share * len(free)))
            kinds = plans[i].kinds
            plans[i] = replace(plans[i], kinds=(*kinds[:f], kind, *kinds[f + 1 :]))
    for i in {0, len(plans) // 2}:
        plans[i] = replace(plans[i], stray=True)
    if params.lco_frames:
        plans.append(_plan_lco(plans, params, rng))
    return plans


def draw_path(
    count: int, params: SynthesiseSemParams, revisit: bool, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw where the frames of a drift series lie.

    Each frame shares a part of its area within `params.overlap_range` with the one before,
    more often a large part than a small one; the field wanders over at most twice a frame's
    width and height. A series that revisits turns round half-way.

    Returns
    -------
    ndarray of int64, (count, 2)
        Top-left corners (y, x) in px of the canvas, both at least 0.
    """
    size = np.array([params.view_height_px, params.width_px])
    low, high = params.overlap_range
    margin = 0.15 * (high - low)
    heading = rng.choice([-1, 1], 2)
    at = np.zeros(2, np.int64)
    path = [at]
    low_edge, high_edge = at.copy(), at.copy()
    for step in range(1, count):
        if revisit and step == (count + 1) // 2:
            heading = -heading
        overlap = (high - margin) - (high - low - 2 * margin) * rng.random() ** 1.5
        share_y = rng.beta(0.6, 0.6)
        kept = overlap ** np.array([share_y, 1 - share_y])
        move = np.rint(size * (1 - kept)).astype(np.int64)
        reach = np.maximum(high_edge, at + heading * move) - np.minimum(
            low_edge, at + heading * move
        )
        heading = np.where(reach > size, -heading, heading)
        at = at + heading * move
        low_edge, high_edge = np.minimum(low_edge, at), np.maximum(high_edge, at)
        path.append(at)
    return np.stack(path) - low_edge


def _schedule(class_index: int, series: int, own_session: bool, counts: list[int]) -> datetime:
    """Return when a series starts: a day per shared session, a later one per class's own.

    In a shared session the classes follow each other; in its own, a class's series do.
    """
    longest = FRAME_INTERVAL * (max(counts) + 1)
    if own_session:
        before = FRAME_INTERVAL * sum(counts[:series]) + timedelta(minutes=3) * series
        return _FIRST_SESSION + timedelta(days=92 + class_index, hours=13) + before
    slot = max(longest + timedelta(minutes=20), timedelta(minutes=71))
    return _FIRST_SESSION + timedelta(days=3 * series) + slot * class_index


def _name_folder(plan: SeriesPlan, params: SynthesiseSemParams) -> str:
    """Return the Windows folder a series was saved in.

    That of the nickel-richest pristine class carries the token ``LCO``, although it is NCM.
    """
    richest = max(params.compositions, key=measure_nickel_fraction)
    if plan.state == params.states[0]:
        own = params.special_cases and params.lco_frames and plan.composition == richest
        return _BILAYER_PATH if own else "C:\\Program Files (x86)\\sec\\Nanoeye\\"
    return f"D:\\DATA\\OJM\\{plan.started_at:%y%m%d}_ncm{plan.composition}_E1_{plan.state}\\"


def _plan_lco(
    plans: list[SeriesPlan], params: SynthesiseSemParams, rng: np.random.Generator
) -> SeriesPlan:
    """Plan the series of LCO plates filed under the nickel-richest pristine class."""
    richest = max(params.compositions, key=measure_nickel_fraction)
    host = [p for p in plans if p.composition == richest and p.state == params.states[0]][-1]
    recording = draw_recordings(["session_lco"], rng)[0]
    gap = len(host.kinds) + int(rng.integers(3, 12))
    return replace(
        host,
        series=f"{host.class_name}/lco",
        key=(_LCO_KEY, 0),
        kinds=(LCO,) * params.lco_frames,
        first_number=host.first_number + gap,
        started_at=host.started_at + FRAME_INTERVAL * gap,
        recording=replace(recording, focus=recording.focus + 53),
        lco=True,
        foil=False,
        stray=False,
    )
