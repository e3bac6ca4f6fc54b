"""The 3D image against analytic silhouettes of a ball and a box."""

from __future__ import annotations

import numpy as np
import pytest

from ncm_kedro.plotting.tomo.cuts import LabelSolid
from ncm_kedro.plotting.tomo.render import Camera, Frame, find_corner, render_labels

CAMERA = Camera(width_px=220)


def make_ball(edge=40, radius=15.0, voxel_um=(1.0, 1.0, 1.0)):
    shape = [round(edge / size) for size in voxel_um]
    grid = np.stack(
        np.meshgrid(
            *[(np.arange(n) + 0.5) * s - edge / 2 for n, s in zip(shape, voxel_um, strict=True)],
            indexing="ij",
        )
    )
    labels = ((grid**2).sum(axis=0) < radius**2).astype(np.uint32)
    return LabelSolid(labels, np.zeros(shape, np.bool_), voxel_um)


@pytest.mark.parametrize("voxel_um", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)])
def test_a_ball_covers_its_disc_from_any_side(voxel_um):
    for azimuth, elevation in ((0.0, 0.0), (35.0, 28.0), (80.0, 60.0)):
        camera = Camera(azimuth, elevation, 220)
        picture, frame = render_labels(make_ball(voxel_um=voxel_um), cut=0.0, camera=camera)
        area = (picture[..., 3] > 0).sum() * frame.pixel_um**2
        # Voxels stand out over the ball by up to half a diagonal, never short of it by as much.
        assert np.sqrt(area / np.pi) == pytest.approx(15.0, abs=0.7)


def test_light_comes_from_above():
    picture, _ = render_labels(make_ball(), cut=0.0, camera=CAMERA)
    rows = np.flatnonzero(picture[..., 3].any(axis=1))
    bright = picture[..., :3].sum(axis=-1)
    middle = picture.shape[1] // 2
    third = len(rows) // 6
    assert bright[rows[third], middle] > 1.3 * bright[rows[-third], middle]


def test_nothing_is_transparent_and_the_nearest_hides_the_rest():
    labels = np.zeros((20, 20, 20), np.uint32)
    labels[5:15, 2:5, 5:15], labels[5:15, 12:18, 5:15] = 1, 2
    solid = LabelSolid(labels, np.zeros(labels.shape, np.bool_), (1.0, 1.0, 1.0))
    front = render_labels(solid, cut=0.0, camera=Camera(0.0, 0.0, 100))[0]
    alone = LabelSolid(np.where(labels == 1, labels, 0), solid.cracks_zyx, solid.voxel_um)
    only = render_labels(alone, cut=0.0, camera=Camera(0.0, 0.0, 100))[0]
    np.testing.assert_array_equal(front[..., 3], only[..., 3])
    hue = front[front[..., 3] > 0][:, :3].argmax(axis=1)
    assert len(set(hue.tolist())) == 1


def test_the_cut_opens_the_inside_and_shows_cracks():
    solid = make_ball()
    cracks = np.zeros(solid.labels_zyx.shape, np.bool_)
    cracks[18:21] = solid.labels_zyx[18:21] > 0
    cracks[:, 14:26, 14:26] = False
    cracked = LabelSolid(solid.labels_zyx, cracks, solid.voxel_um)
    whole = render_labels(cracked, cut=0.0, camera=CAMERA)[0]
    opened = render_labels(cracked, cut=0.5, camera=CAMERA)[0]
    changed = np.abs(whole - opened).sum(axis=-1) > 0.05
    assert changed.mean() > 0.03
    corner = find_corner(solid.labels_zyx.shape, 0.5)
    assert [(part.start, part.stop) for part in corner] == [(20, 40), (0, 20), (20, 40)]
    red = (opened[..., 0] > 2.5 * opened[..., 1]) & (opened[..., 3] > 0) & (opened[..., 0] < 0.6)
    plain = render_labels(solid, cut=0.5, camera=CAMERA)[0]
    red_plain = (plain[..., 0] > 2.5 * plain[..., 1]) & (plain[..., 3] > 0) & (plain[..., 0] < 0.6)
    assert red.sum() > red_plain.sum() + 50


def test_the_frame_holds_the_whole_box():
    frame = Frame.fit(np.array([10.0, 20.0, 30.0]), CAMERA)
    corners = np.array([[z, y, x] for z in (0, 10) for y in (0, 20) for x in (0, 30)], float)
    places = frame.project(corners)
    assert (places >= -0.5).all()
    assert (places[:, 0] < frame.width_px).all()
    assert (places[:, 1] < frame.height_px).all()
    # Higher z stands higher in the image; x runs to the right, y into the depth.
    assert frame.project(np.array([[10.0, 0, 0]]))[0, 1] < frame.project(np.zeros((1, 3)))[0, 1]
    assert frame.project(np.array([[0.0, 0, 30]]))[0, 0] > frame.project(np.zeros((1, 3)))[0, 0]


def test_an_empty_volume_gives_an_empty_picture():
    empty = LabelSolid(np.zeros((5, 6, 7), np.uint32), np.zeros((5, 6, 7), np.bool_), (1, 1, 1))
    assert not render_labels(empty, camera=CAMERA)[0].any()
