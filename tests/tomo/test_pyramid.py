"""Coarser levels: shapes, positions and values."""

import numpy as np
import pytest

from ncm_kedro.tomo.volumes.pyramid import list_levels, shrink_array


def test_halves_until_the_longest_axis_is_short():
    levels = list_levels((100, 1030, 515), (0.1, 0.1, 0.1))
    assert [level.shape_zyx for level in levels] == [
        (100, 1030, 515), (50, 515, 258), (25, 258, 129), (13, 129, 65)
    ]  # fmt: skip
    assert levels[2].spacing_um == pytest.approx((0.4, 0.4, 0.4))
    assert levels[2].offset_um == pytest.approx((0.15, 0.15, 0.15))


def test_waits_for_the_finer_axes():
    levels = list_levels((300, 1200, 1200), (0.5, 0.1, 0.1))
    assert [level.factors_zyx for level in levels[1:]] == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]


def test_a_small_volume_has_one_level():
    assert len(list_levels((256, 10, 10), (1.0, 1.0, 1.0))) == 1


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "float32"])
def test_means(kind):
    volume = np.random.default_rng(0).integers(0, 200, (4, 6, 8)).astype(kind)
    expected = volume.reshape(2, 2, 3, 2, 4, 2).mean(axis=(1, 3, 5))
    small = shrink_array(volume, (2, 2, 2), is_label=False)
    assert small.dtype == volume.dtype
    np.testing.assert_allclose(small, expected, atol=0.5 if kind != "float32" else 1e-4)


def test_most_frequent_identity_wins():
    volume = np.array([[[7, 7], [3, 9]], [[7, 9], [9, 9]]], np.uint32)
    assert shrink_array(volume, (2, 2, 2), is_label=True).item() == 9
    assert shrink_array(volume[:1], (1, 2, 2), is_label=True).item() == 7


def test_never_invents_an_identity():
    volume = np.random.default_rng(1).integers(0, 5, (9, 7, 5)).astype(np.uint32) * 1000
    small = shrink_array(volume, (2, 2, 2), is_label=True)
    assert small.shape == (5, 4, 3)
    assert set(np.unique(small)) <= set(np.unique(volume))


def test_keeps_the_centre_of_a_ball():
    grid = np.mgrid[:32, :32, :32] - np.array([14.3, 17.1, 15.8])[:, None, None, None]
    ball = (np.sqrt((grid**2).sum(axis=0)) < 9).astype(np.uint8)
    small = shrink_array(ball, (2, 2, 2), is_label=True)
    centre = np.argwhere(small).mean(axis=0) * 2 + 0.5
    np.testing.assert_allclose(centre, np.argwhere(ball).mean(axis=0), atol=0.25)
