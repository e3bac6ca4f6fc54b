"""The page states what was run, what was found, and what limits it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from page_text import BLANK_PNG, list_captions, list_headings, list_warnings, read_text
from test_tomo_figures import make_scores

from ncm_kedro.plotting.tomo import report
from ncm_kedro.plotting.tomo.render import Camera
from ncm_kedro.plotting.tomo.report import draw_samples, render_tomo_report, view_sample


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


def render(samples=(), detector=None, **more):
    values = {"rejected": pd.DataFrame(columns=["file", "reason"]), **more}
    return render_tomo_report(
        samples=list(samples), figures=draw_samples(samples), detector=detector or {}, **values
    )


def test_page_holds_samples_detector_and_suspects(view, monkeypatch):
    small = partial(report.plot_solids, camera=Camera(width_px=120))
    monkeypatch.setattr(report, "plot_solids", small)
    cut = view.cuts[0]
    page = render(
        [view],
        {"name": "nmc <detector>", "fingerprint": "3f0a", "phantoms_only": True},
        rejected=pd.DataFrame({"file": ["bad.tif"], "reason": ["3 NaN in slice 7"]}),
        scores=make_scores(),
        comparisons={"image": [(cut, {"truth": cut.labels_yx, "paper": cut.labels_yx})]},
    )
    text = read_text(page)
    for words in (
        "nmc <detector>", "3f0a", "bad.tif", "3 NaN in slice 7", "the directions disagree",
        "AP = TP / (TP + FP + FN)", "48 x 96 x 96", "tomo_review",
    ):  # fmt: skip
        assert words in text, words
    assert "<detector>" not in page
    assert page.count("data:image/webp;base64,") == 5
    assert len(list_captions(page)) == 10
    assert len(list_headings(page)) == 6
    assert "http" not in text


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without the costly figures."""
    for name in ("plot_orthogonal", "plot_solids", "plot_sizes"):
        monkeypatch.setattr(report, name, lambda *args, **kwargs: BLANK_PNG)


@pytest.mark.usefixtures("undrawn")
def test_page_without_samples_particles_or_truth_still_renders(view):
    empty = render([replace(view, particles=view.particles.iloc[:0])])
    assert len(list_warnings(empty)) == 1
    assert len(list_headings(empty)) == 4
    nothing = render()
    assert "0 tomograms" in read_text(nothing)
    assert "<img" not in nothing


SOUND = {"disagreement": 0.05, "touches_border": False, "volume_um3": 1.0, "count": 100,
         "equivalent_diameter_um": 5.0}  # fmt: skip


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("facts", "particles", "part"),
    [
        ({}, {}, None),
        ({}, {"touches_border": [True] * 60 + [False] * 40}, "60% of the particles, 60%"),
        ({}, {"count": 12}, "only 12 particles"),
        ({}, {"disagreement": 0.4}, "by 0.40"),
        ({}, {"volume_um3": 4.0}, "labels fill 90% of the volume"),
        ({"contrast_warnings": ["no contrast: noise"]}, {}, "no contrast: noise"),
        ({}, {"equivalent_diameter_um": [15.0] * 10 + [5.0] * 90}, "10% of the complete"),
        ({"debris": 30}, {}, None),
        ({"debris": 40}, {}, "40 peaks of low mean probability"),
        ({"field_of_view_fraction": 0.4}, {}, "only 40% of the volume"),
        ({"voxel_size_um": (0.3, 0.1, 0.1)}, {}, "3.0 times"),
        ({"edited_from": "abc"}, {}, "edited by hand"),
        ({"warnings": "sections 3, 4 are missing"}, {}, "sections 3, 4 are missing"),
        ({"voxel_size_source": "tags, voxels taken as cubes"}, {}, "taken as cubes (tags"),
        (
            {"voxel_size_source": "a.yml", "detection_voxel_um": 5.0},
            {"equivalent_diameter_um": 150.0},
            "particles of 150.000 um in the median are implausible (expected: 0.2 to 100 um). The "
            "voxel size came from a.yml",
        ),
    ],
)
def test_what_limits_the_conclusions_is_warned_of(view, facts, particles, part):
    values = {**SOUND, **particles}
    count = values.pop("count")
    rows = view.particles.iloc[[0] * count].reset_index(drop=True).assign(**values)
    known = {"voxel_size_um": (0.1, 0.1, 0.1), "detection_voxel_um": 0.1, **facts}
    sample = replace(view, particles=rows, facts={**view.facts, **known})
    found = list_warnings(render([sample], {"diameter_range_px": (20, 120)}))
    assert len(found) == (part is not None)
    assert all(part in line for line in found)
