"""Sections and coarse labels show the requested place."""

from __future__ import annotations

import numpy as np
import pytest

from ncm_kedro.plotting.tomo.cuts import coarsen_labels, cut_orthogonal, cut_section


def test_fine_sections_are_the_planes_themselves(sample, packing):
    labels, cracks, grey = packing
    image, probability, label_volume = sample
    planes = {"xy": np.s_[24], "xz": np.s_[:, 48], "yz": np.s_[:, :, 48]}
    for cut in cut_orthogonal(image, labels=label_volume, probability=probability):
        plane = planes[cut.plane]
        np.testing.assert_array_equal(cut.image_yx, grey[plane])
        np.testing.assert_array_equal(cut.labels_yx, labels[plane])
        np.testing.assert_allclose(cut.cracks_yx, cracks[plane])
        np.testing.assert_allclose(cut.probability_yx, probability.array[:][plane] / 255, rtol=1e-6)
        assert cut.disagreement_yx.max() <= 1
    assert cut.pixel_um == pytest.approx((0.2, 0.1))
    assert cut.position_um == pytest.approx(4.85)


def test_coarse_sections_keep_place_and_scale(sample, packing):
    labels, cracks, _ = packing
    image, _, label_volume = sample
    cut = cut_section(image, "xy", labels=label_volume, at=0.25, max_px=48)
    np.testing.assert_array_equal(cut.labels_yx, labels[12, ::2, ::2])
    pooled = cracks[12].reshape(48, 2, 48, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(cut.cracks_yx, pooled)
    assert cut.pixel_um == pytest.approx((0.2, 0.2))
    assert cut.position_um == pytest.approx(12.5 * 0.2)


def test_a_store_without_pyramid_is_thinned(packing, write_sample, tmp_path):
    image = write_sample(tmp_path, "flat", packing[2])
    cut = cut_section(image, "yz", at=1.0, max_px=40)
    assert max(cut.image_yx.shape) <= 40
    assert cut.labels_yx is None
    assert cut.cracks_yx is None
    # Rows and columns still span the full plane.
    assert cut.image_yx.shape[1] * cut.pixel_um[1] == pytest.approx(9.6)


def test_coarse_labels_keep_extent_and_cracks(sample, packing):
    labels, cracks, _ = packing
    fine = coarsen_labels(sample[2], max_edge_vx=100)
    np.testing.assert_array_equal(fine.labels_zyx, labels)
    np.testing.assert_array_equal(fine.cracks_zyx, cracks > 0)
    coarse = coarsen_labels(sample[2], max_edge_vx=50)
    assert coarse.labels_zyx.shape == (24, 48, 48)
    assert coarse.voxel_um == pytest.approx((0.4, 0.2, 0.2))
    share = coarse.cracks_zyx.sum() / (coarse.labels_zyx > 0).sum()
    assert share == pytest.approx(cracks.sum() / (labels > 0).sum(), rel=0.3)


def test_large_volumes_show_cracks_on_the_cut_faces(sample, monkeypatch):
    whole = coarsen_labels(sample[2]).cracks_zyx
    monkeypatch.setattr("ncm_kedro.plotting.tomo.cuts._WHOLE_CRACKS_VX", 10)
    faces = coarsen_labels(sample[2], cut=0.5).cracks_zyx
    for plane in (np.s_[23], np.s_[:, 48], np.s_[:, :, 47]):
        np.testing.assert_array_equal(faces[plane], whole[plane])
    assert 0 < faces.sum() < 0.2 * whole.sum()
