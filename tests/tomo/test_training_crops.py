"""Crops: reproducible, varied, image and labels together; targets against StarDist's own code."""

import numpy as np
import pytest
from skimage.draw import disk
from stardist.geometry import star_dist
from stardist.utils import edt_prob

from ncm_kedro.errors import ModelError
from ncm_kedro.params.tomo_phantoms import TomoSectionParams
from ncm_kedro.params.tomo_train import NetworkParams, SectionAugmentParams, TomoTrainParams
from ncm_kedro.tomo.training.crops import (
    CropSource,
    compute_targets,
    draw_batch,
    draw_crop,
    resize_section,
)
from ncm_kedro.tomo.training.sections import (
    InMemorySections,
    LabelledSection,
    PhantomSections,
    split_sections,
)

PARAMS = TomoTrainParams(
    network=NetworkParams(n_rays=8, unet_depth=1, filters=4, features=8),
    patch_px=64,
    batch_size=3,
)
STILL = SectionAugmentParams(scale=1, gain=1, offset=0, gamma=1, noise=0)


def make_section(seed=0, size=90):
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.int32)
    for number in range(1, 9):
        labels[disk(rng.uniform(0, size, 2), rng.uniform(5, 14), shape=labels.shape)] = number
    return LabelledSection((labels > 0).astype(np.float32), labels)


def test_same_step_gives_the_same_crops_and_others_differ():
    source = [CropSource(InMemorySections([make_section(n) for n in range(4)]), np.arange(4), 1.0)]
    one, again, other = (draw_batch(source, PARAMS, step) for step in (5, 5, 6))
    np.testing.assert_array_equal(one.images_nyxc, again.images_nyxc)
    np.testing.assert_array_equal(one.dist_nyxk, again.dist_nyxk)
    assert not np.array_equal(one.images_nyxc, other.images_nyxc)
    assert one.images_nyxc.shape == (3, 64, 64, 1)
    assert one.prob_nyxc.shape == (3, 32, 32, 1)
    assert one.dist_nyxk.shape == (3, 32, 32, 8)


def test_labels_move_with_the_image():
    rng = np.random.default_rng(1)
    for _ in range(12):
        crop = draw_crop(make_section(), rng, 64, STILL)
        np.testing.assert_array_equal(crop.image_yx > 0.5, crop.labels_yx > 0)


def test_crops_are_turned_mirrored_and_rescaled():
    ramp = np.arange(64, dtype=np.float32)
    section = LabelledSection(ramp[:, None] * 64 + ramp, np.ones((64, 64), np.int32))
    rng = np.random.default_rng(2)
    corners = {
        tuple(draw_crop(section, rng, 64, STILL).image_yx[[0, 0], [0, -1]]) for _ in range(80)
    }
    assert len(corners) == 8


def test_shares_choose_between_kinds():
    dark = LabelledSection(np.zeros((64, 64), np.float32), np.zeros((64, 64), np.int32))
    bright = LabelledSection(np.ones((64, 64), np.float32), np.zeros((64, 64), np.int32))
    params = PARAMS.model_copy(update={"augment": STILL, "batch_size": 200})
    sources = [
        CropSource(InMemorySections([dark]), np.arange(1), 0.8),
        CropSource(InMemorySections([bright]), np.arange(1), 0.2),
    ]
    assert draw_batch(sources, params, 0).images_nyxc.mean() == pytest.approx(0.2, abs=0.09)


def test_resizing_keeps_labels_whole_numbers_of_the_same_area():
    section = make_section()
    double = resize_section(section, 2.0)
    assert set(np.unique(double.labels_yx)) == set(np.unique(section.labels_yx))
    assert (double.labels_yx > 0).mean() == pytest.approx((section.labels_yx > 0).mean(), rel=1e-6)


def test_split_is_disjoint_and_whole():
    training, held = split_sections(50, 0.1, np.random.default_rng(0))
    assert len(held) == 5
    assert sorted([*training, *held]) == list(range(50))
    alone, none = split_sections(1, 0.1, np.random.default_rng(0))
    assert (len(alone), len(none)) == (1, 0)


def test_phantom_sections_are_kept_and_guarded(tmp_path):
    params = TomoSectionParams()
    sections = PhantomSections(tmp_path / "s", 3, 64, 9, params)
    sections.render(workers=1)
    first = sections.load(0)
    assert first.image_yx.shape == (64, 64)
    assert first.labels_yx.max() > 0
    stamp = (tmp_path / "s" / "00000_labels.npy").stat().st_mtime_ns
    again = PhantomSections(tmp_path / "s", 3, 64, 9, params)
    again.render(workers=1)
    assert (tmp_path / "s" / "00000_labels.npy").stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(again.load(0).image_yx, first.image_yx)
    with pytest.raises(ModelError, match="other settings"):
        PhantomSections(tmp_path / "s", 3, 64, 10, params).render(workers=1)


@pytest.mark.parametrize(("n_rays", "grid"), [(32, 2), (8, 1), (16, 4)])
def test_equals_stardist(n_rays, grid):
    labels = make_section(3).labels_yx
    targets = compute_targets(labels, n_rays, grid)
    expected = star_dist(labels.astype(np.uint16), n_rays, grid=(grid, grid))
    np.testing.assert_allclose(targets.dist_yxk, expected, atol=1e-3)
    np.testing.assert_allclose(targets.prob_yx, edt_prob(labels)[::grid, ::grid], atol=1e-6)
