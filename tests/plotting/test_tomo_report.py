"""The page says what was run, what was found, and what could fool its reader."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_tomo_figures import make_scores

from ncm_kedro.plotting.tomo.caveats import list_caveats
from ncm_kedro.plotting.tomo.report import render_tomo_report, view_sample


def list_particles(labels, voxel_um):
    ids, count = np.unique(labels[labels > 0], return_counts=True)
    volume = count * np.prod(voxel_um)
    faces = [np.take(labels, side, axis) for axis in range(3) for side in (0, -1)]
    border = np.unique(np.concatenate([face.ravel() for face in faces]))
    return pd.DataFrame(
        {
            "particle_id": ids, "z_um": 1.0, "y_um": 1.0, "x_um": 1.0, "voxel_count": count,
            "volume_um3": volume, "equivalent_diameter_um": (6 * volume / np.pi) ** (1 / 3),
            "touches_border": np.isin(ids, border), "probability": 0.7, "crack_fraction": 0.1,
            "disagreement": np.where(np.arange(len(ids)) == 0, 0.8, 0.05),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def view(sample, packing):
    image, probability, labels = sample
    return view_sample(image, probability, labels, list_particles(packing[0], image.voxel_size_um))


def test_page_holds_samples_detector_and_doubts(view):
    cut = view.cuts[0]
    rejected = pd.DataFrame({"file": ["bad.tif"], "reason": ["3 NaN in slice 7"]})
    page = render_tomo_report(
        samples=[view],
        detector={"name": "nmc-particle-detector", "fingerprint": "3f0a", "phantoms_only": True},
        rejected=rejected,
        scores=make_scores(),
        comparisons={"image": [(cut, {"truth": cut.labels_yx, "paper": cut.labels_yx})]},
    )
    for text in (
        "3f0a", "trained on synthetic sections alone", "bad.tif", "3 NaN in slice 7",
        "the directions disagree", "AP = TP / (TP + FP + FN)", "Methods on the same sections",
        "tomo_review", "48 x 96 x 96",
    ):  # fmt: skip
        assert text in page, text
    assert page.count("data:image/png;base64,") == 5
    assert "http" not in page


def test_page_without_samples_or_truth_still_renders(view):
    empty = view_sample_without_particles(view)
    page = render_tomo_report(samples=[empty], detector={}, rejected=pd.DataFrame())
    assert "no particle was found" in page
    assert "Scores against" not in page
    nothing = render_tomo_report(samples=[], detector={}, rejected=pd.DataFrame())
    assert "0 tomograms" in nothing


def view_sample_without_particles(view):
    return type(view)(view.sample, view.facts, view.cuts, view.solid, view.particles.iloc[:0])


def make_particles(count=100, **columns):
    sound = {"touches_border": False, "volume_um3": 10.0, "disagreement": 0.05,
             "equivalent_diameter_um": 5.0}  # fmt: skip
    return pd.DataFrame({**sound, **columns}, index=range(count))


FACTS = {"shape_zyx": (100, 100, 100), "voxel_size_um": (0.1, 0.1, 0.1), "detection_voxel_um": 0.1}
RANGE = {"diameter_range_px": (20, 120)}


def test_a_sound_sample_has_no_caveat():
    assert list_caveats(FACTS, make_particles(), RANGE) == []


@pytest.mark.parametrize(
    ("facts", "particles", "text"),
    [
        ({}, {"touches_border": [True] * 60 + [False] * 40}, "60% of the particles, 60%"),
        ({}, {"count": 12}, "only 12 particles are whole"),
        ({}, {"disagreement": 0.4}, "differ by 0.40"),
        ({}, {"equivalent_diameter_um": [15.0] * 10 + [5.0] * 90}, "10% of the whole particles"),
        ({"field_of_view_fraction": 0.4}, {}, "only 40% of the volume"),
        ({"voxel_size_um": (0.3, 0.1, 0.1)}, {}, "3.0 times longer"),
        ({"edited_from": "abc"}, {}, "edited by hand"),
    ],
)
def test_what_stands_out_is_said(facts, particles, text):
    (caveat,) = list_caveats({**FACTS, **facts}, make_particles(**particles), RANGE)
    assert text in caveat
