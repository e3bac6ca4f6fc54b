"""Phantom volumes: geometry, contacts, simulated damage, and slabs that join without a seam."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ncm_kedro.params.tomo_phantoms import DamageLawParams, TomoPhantomParams, TomoSampleParams
from ncm_kedro.synthetic.tomo.imaging import draw_view, render_scene
from ncm_kedro.synthetic.tomo.scene import (
    Scene,
    draw_directions,
    find_contacts,
    pack_ellipsoids,
    reach_ellipsoids,
    simulate_damage,
)
from ncm_kedro.synthetic.tomo.solids import Solids, measure_damage
from ncm_kedro.synthetic.tomo.volume import (
    Slab,
    iter_slabs,
    make_scene,
    start_count,
    tabulate_truth,
)

PARAMS = TomoPhantomParams(shape_zyx=(44, 60, 64), voxel_size_um=0.5, slab_vx=16)


def make_balls(centres_um: list[list[float]], radius_um: float) -> Solids:
    count = len(centres_um)
    rng = np.random.default_rng(0)
    return Solids(
        centre_um=np.array(centres_um, np.float64),
        axes=np.tile(np.eye(3), (count, 1, 1)),
        half_um=np.full((count, 3), radius_um),
        bound_um=np.full(count, radius_um),
        wave=np.zeros((count, 1, 3)),
        phase=np.zeros((count, 1)),
        amplitude=np.zeros((count, 1)),
        void_wave=np.zeros((count, 1, 3)),
        void_phase=np.full((count, 1), np.pi / 2),
        void=np.zeros((count, 2)),
        crack_normal=draw_directions(rng, count, 1),
        crack_side=draw_directions(rng, count, 1),
        crack=np.zeros((count, 1, 5)),
        rim=np.zeros((count, 2)),
        severity=np.zeros(count),
        tone=np.ones(count),
        seed=np.arange(count, dtype=np.int64),
    )


def make_ball_scene(centres_um: list[list[float]], radius_um: float) -> Scene:
    solids = make_balls(centres_um, radius_um)
    count = len(centres_um)
    return Scene(
        solids=solids,
        diameter_um=np.full(count, 2 * radius_um),
        elongation=np.ones(count),
        contacts=find_contacts(solids),
        depth_um=solids.centre_um[:, 0],
        simulated_damage=np.zeros(count),
        collector_um=0.0,
        separator_um=100.0,
        seed=1,
    )


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene("cyc50", PARAMS)


@pytest.fixture(scope="module")
def rendered(scene: Scene) -> tuple[Slab, pd.DataFrame]:
    count = start_count(scene)
    slabs = list(iter_slabs(scene, PARAMS, count))
    whole = Slab(
        0,
        np.concatenate([slab.grey_zyx for slab in slabs]),
        np.concatenate([slab.labels_zyx for slab in slabs]),
        np.concatenate([slab.cracks_zyx for slab in slabs]),
    )
    return whole, tabulate_truth("cyc50", scene, count, PARAMS)


def test_contacts_of_balls_are_those_that_touch() -> None:
    balls = make_balls([[0, 0, 0], [0, 0, 9.9], [0, 10.5, 0], [30, 0, 0]], 5.0)
    np.testing.assert_array_equal(find_contacts(balls), [[0, 1]])


def test_ball_has_its_volume_and_overlap_is_shared_at_the_middle() -> None:
    ball = make_ball_scene([[10.13, 10.07, 9.91]], 6.0)
    lone = render_scene(ball, (0, 0, 0), (0.5, 0.5, 0.5), (40, 40, 40))
    assert (lone.labels_zyx == 1).sum() * 0.125 == pytest.approx(4 / 3 * np.pi * 216, rel=0.01)
    pair = make_ball_scene([[10, 10, 6.2], [10, 10, 14.2]], 5.0)
    labels = render_scene(pair, (0, 0, 0), (0.5, 0.5, 0.5), (40, 40, 44)).labels_zyx
    x_um = np.arange(44) * 0.5
    assert x_um[np.flatnonzero((labels == 1).any(axis=(0, 1))).max()] < 10.21
    assert x_um[np.flatnonzero((labels == 2).any(axis=(0, 1))).min()] > 10.19
    assert ((labels[:, :, 20] == 1) & (labels[:, :, 21] == 2)).sum() > 40


def test_section_of_a_scene_agrees_with_the_volume(scene: Scene) -> None:
    volume = render_scene(scene, (0, 0, 0), (0.5, 0.5, 0.5), (44, 60, 64))
    section = render_scene(scene, (0, 15.0, 0), (0.5, 0.5, 0.5), (44, 1, 64))
    np.testing.assert_array_equal(section.labels_zyx[:, 0], volume.labels_zyx[:, 30])
    fine = render_scene(scene, (0, 15.0, 0), (0.25, 0.25, 0.25), (88, 1, 128))
    np.testing.assert_array_equal(fine.labels_zyx[::2, 0, ::2], section.labels_zyx[:, 0])


def test_blocks_join_to_the_whole(scene: Scene) -> None:
    whole = render_scene(scene, (0, 0, 0), (0.5, 0.5, 0.5), (44, 60, 64))
    for z, y, x in ((0, 0, 0), (13, 21, 5), (30, 40, 44)):
        block = render_scene(scene, (z * 0.5, y * 0.5, x * 0.5), (0.5, 0.5, 0.5), (14, 20, 20))
        region = (slice(z, z + 14), slice(y, y + 20), slice(x, x + 20))
        np.testing.assert_array_equal(block.labels_zyx, whole.labels_zyx[region])
        np.testing.assert_array_equal(block.cracks_zyx, whole.cracks_zyx[region])
        np.testing.assert_allclose(block.cover_zyx, whole.cover_zyx[region], atol=1e-5)


def test_slabs_do_not_change_the_tomogram(
    scene: Scene, rendered: tuple[Slab, pd.DataFrame]
) -> None:
    whole, truth = rendered
    count = start_count(scene)
    slabs = list(iter_slabs(scene, PARAMS.model_copy(update={"slab_vx": 7}), count))
    for name in ("grey_zyx", "labels_zyx", "cracks_zyx"):
        joined = np.concatenate([getattr(slab, name) for slab in slabs])
        np.testing.assert_array_equal(joined, getattr(whole, name))
    pd.testing.assert_frame_equal(tabulate_truth("cyc50", scene, count, PARAMS), truth)


def test_seed_and_name_make_the_sample() -> None:
    sample = PARAMS.samples["cyc50"]
    small = {"shape_zyx": (30, 16, 16), "samples": {"cyc50": sample, "other": sample}}
    params = PARAMS.model_copy(update=small)
    one, again, other = (make_scene(name, params).solids for name in ("cyc50", "cyc50", "other"))
    np.testing.assert_array_equal(one.centre_um, again.centre_um)
    np.testing.assert_array_equal(one.severity, again.severity)
    assert one.centre_um[0, 0] != other.centre_um[0, 0]


def test_packing_is_dense_and_hardly_overlaps() -> None:
    rng = np.random.default_rng(0)
    half = np.sort(rng.uniform(3, 5, (110, 1)))[::-1] * np.ones(3)
    axes = np.tile(np.eye(3), (110, 1, 1))
    box = (np.zeros(3), np.array([30.0, 40.0, 60.0]))
    centre = pack_ellipsoids(rng, half, axes, box, 0.05)
    offset = centre[:, None] - centre
    distance = np.sqrt((offset**2).sum(axis=-1)) + 1e3 * np.eye(110)
    reach = half[:, :1] + half[:, 0]
    assert (distance / reach).min() > 0.93
    assert ((distance / reach) < 1.0).sum(axis=1).mean() > 1.5
    assert (centre[:, 0] >= half[:, 0] - 1e-6).all()
    assert (centre[:, 0] <= 30 - half[:, 0] + 1e-6).all()


def test_reach_of_an_ellipsoid_is_its_half_axis_along_it() -> None:
    half = np.array([[1.0, 2.0, 3.0]])
    turned = np.array([[[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]])  # axes along y, x, z
    unit = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    found = reach_ellipsoids(half, turned, np.zeros(3, np.int64), unit)
    np.testing.assert_allclose(found, [3, 1, 2])


def test_electrode_is_filled_between_the_bands(rendered: tuple[Slab, pd.DataFrame]) -> None:
    labels = rendered[0].labels_zyx > 0
    inside = draw_view((60, 64), PARAMS.imaging)
    filled = labels[6:38][:, inside].mean()
    assert 0.35 < filled < 0.55
    assert not labels[:2].any()
    assert not labels[-2:].any()


def test_planted_law_is_found_again() -> None:
    rng = np.random.default_rng(0)
    depth, size = rng.uniform(0, 40, 4000), rng.lognormal(2, 0.3, 4000)
    contact = rng.integers(0, 9, 4000)
    law = DamageLawParams(depth=-0.5, contact=0.4, size=0.3, noise=0.3)
    sample = TomoSampleParams(damage_level=0.1, asynchrony=0.8, drift=0.1)
    damage = simulate_damage(rng, depth, contact, size, (sample, law))
    assert damage.min() > 0
    assert damage.max() < law.max_damage
    logit = np.log(damage / (law.max_damage - damage))
    drivers = [(v - v.mean()) / v.std() for v in (depth, contact, size)]
    weights, *_ = np.linalg.lstsq(np.stack([np.ones(4000), *drivers], axis=1), logit)
    np.testing.assert_allclose(weights[1:], 0.8 * np.array([-0.4, 0.4, 0.3]), atol=0.02)
    assert np.median(damage) == pytest.approx(0.1, rel=0.05)


def test_void_takes_the_share_that_it_spans() -> None:
    ball = make_balls([[0, 0, 0]], 8.0)
    ball.void[:] = [[0.6, 0.0]]
    ball.severity[:] = 1
    unit = draw_directions(np.random.default_rng(1), 20000)
    share = np.cbrt((np.arange(20000) + 0.5) / 20000)
    assert measure_damage(ball, 0, unit, share, np.full(20000, 8.0)) == pytest.approx(
        0.216, abs=0.04
    )


def test_realised_damage_follows_the_plan(scene: Scene) -> None:
    """On the whole scene: rendered beyond the volume, so that no particle is cut."""
    origin = (-2.0, -16.0, -16.0)
    whole = render_scene(scene, origin, (0.4, 0.4, 0.4), (65, 155, 160))
    size = scene.diameter_um.size + 1
    voxels = np.bincount(whole.labels_zyx.ravel(), minlength=size)[1:]
    cracks = np.bincount(whole.labels_zyx[whole.cracks_zyx > 0], minlength=size)[1:]
    assert voxels.min() > 100
    realised = cracks / voxels
    assert np.corrcoef(realised, scene.simulated_damage)[0, 1] > 0.95
    assert np.abs(realised - scene.simulated_damage).mean() < 0.02


def test_cracks_lie_within_labels_and_are_dark(rendered: tuple[Slab, pd.DataFrame]) -> None:
    whole, truth = rendered
    cracks = whole.cracks_zyx > 0
    assert (whole.labels_zyx[cracks] > 0).all()
    sound = (whole.labels_zyx > 0) & ~cracks
    assert whole.grey_zyx[cracks].mean() < whole.grey_zyx[sound].mean() - 40
    assert cracks.sum() == truth["crack_voxels"].sum()


def test_truth_describes_the_labels(scene: Scene, rendered: tuple[Slab, pd.DataFrame]) -> None:
    whole, truth = rendered
    number, voxels = np.unique(whole.labels_zyx[whole.labels_zyx > 0], return_counts=True)
    np.testing.assert_array_equal(truth["particle_id"], number)
    np.testing.assert_array_equal(truth["voxel_count"], voxels)
    on_face = np.unique(
        np.concatenate([whole.labels_zyx[:, 0].ravel(), whole.labels_zyx[:, -1].ravel()])
    )
    on_face = on_face[on_face > 0]
    assert truth.set_index("particle_id").loc[on_face, "touches_border"].all()
    assert not truth["touches_border"].all()
    inner = truth[~truth["touches_border"]].iloc[0]
    where = np.argwhere(whole.labels_zyx == inner["particle_id"]).mean(axis=0) * 0.5
    np.testing.assert_allclose(where, inner[["z_um", "y_um", "x_um"]].to_numpy(float), atol=0.7)
    assert {"noise_1", "noise_2", "noise_3", "contact_neighbours", "depth_um"} <= set(truth)
    assert truth["noise_1"].std() > 0.5


def test_nothing_lies_outside_the_field_of_view(scene: Scene) -> None:
    imaging = PARAMS.imaging.model_copy(update={"field_of_view": 0.4})
    slab = next(iter(iter_slabs(scene, PARAMS.model_copy(update={"imaging": imaging}))))
    outside = ~draw_view((60, 64), imaging)
    assert 0.4 < outside.mean() < 0.6
    assert (slab.grey_zyx[:, outside] == imaging.outside_grey).all()
    assert not slab.labels_zyx[:, outside].any()
    assert slab.grey_zyx[:, ~outside].std() > 10


def test_contacts_show_as_neighbouring_labels(scene: Scene) -> None:
    labels = render_scene(scene, (0, -8, -8), (0.5, 0.5, 0.5), (44, 92, 96)).labels_zyx
    seen = set()
    for axis in range(3):
        a = np.moveaxis(labels, axis, 0)[:-1].ravel()
        b = np.moveaxis(labels, axis, 0)[1:].ravel()
        meet = (a != b) & (a > 0) & (b > 0)
        pairs = np.unique(np.stack([a[meet], b[meet]]), axis=1)
        seen |= {tuple(sorted(pair)) for pair in pairs.T.tolist()}
    shown = set(np.unique(labels).tolist())
    known = {(a + 1, b + 1) for a, b in scene.contacts.tolist()}
    known = {pair for pair in known if set(pair) <= shown}
    assert len(known & seen) > 0.8 * len(seen)
    assert len(known & seen) > 0.6 * len(known)


def test_noise_free_scene_is_sound_without_damage(scene: Scene) -> None:
    sound = replace(scene, solids=scene.solids._replace(severity=np.zeros(len(scene.diameter_um))))
    assert not render_scene(sound, (0, 0, 0), (1, 1, 1), (22, 30, 32)).cracks_zyx.any()


@pytest.mark.parametrize(
    "change", [{"shape_zyx": (8, 64, 64)}, {"voxel_size_um": 3.0}, {"samples": {"a/b": {}}}]
)
def test_settings_that_cannot_work_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TomoPhantomParams.model_validate(change)
