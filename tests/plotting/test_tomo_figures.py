"""Figures of tomography show what the tables and sections hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ncm_kedro.plotting.style import colour_labels, draw_scale_bar, trace_outlines
from ncm_kedro.plotting.tomo.cuts import SectionCut, coarsen_labels, cut_orthogonal
from ncm_kedro.plotting.tomo.render import Camera
from ncm_kedro.plotting.tomo.scores import (
    plot_detector_curves,
    plot_detector_examples,
    plot_segmentation_scores,
)
from ncm_kedro.plotting.tomo.sections import (
    plot_methods,
    plot_orthogonal,
    plot_sizes,
    plot_solids,
    weighted_median,
)


def draw(figure, tmp_path):
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png", dpi=40)
    return figure


def titles_of(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_colours_tell_neighbours_apart():
    colours = colour_labels(np.arange(1, 200))
    assert (np.abs(np.diff(colours, axis=0)).sum(axis=1) > 0.25).all()
    assert colour_labels(np.zeros((2, 3), np.uint32)).shape == (2, 3, 3)
    assert not colour_labels(np.zeros(1, np.uint32)).any()


def test_outline_of_a_disc_has_its_place_and_radius():
    y, x = np.mgrid[:40, :60]
    labels = np.where((y - 20) ** 2 + (x - 35) ** 2 < 10.0**2, 12, 0)
    ((number, lines),) = trace_outlines(labels)
    assert number == 12
    radius = np.hypot(lines[0][:, 0] - 35, lines[0][:, 1] - 20)
    np.testing.assert_allclose(radius, 10.0, atol=0.8)
    assert trace_outlines(np.zeros((4, 4), int)) == []
    assert [number for number, _ in trace_outlines(np.full((4, 4), 3))] == [3]


@pytest.mark.parametrize(("width_px", "pixel_um", "length_um"), [(300, 0.1, 5.0), (512, 0.07, 5.0),
                                                               (100, 0.013, 0.2)])  # fmt: skip
def test_scale_bar_has_the_length_that_it_says(width_px, pixel_um, length_um):
    axes = Figure().subplots()
    draw_scale_bar(axes, (200, width_px), pixel_um)
    (bar,) = [patch for patch in axes.patches if patch.get_gid() == "scale_bar"]
    assert axes.texts[0].get_text() == f"{length_um:g} µm"
    assert bar.get_width() * pixel_um == pytest.approx(length_um)


def test_sections_show_counts_and_dash_border_particles(sample, tmp_path):
    image, probability, labels = sample
    cuts = cut_orthogonal(image, labels=labels, probability=probability)
    present = np.unique(cuts[0].labels_yx[cuts[0].labels_yx > 0])
    border = [int(present[0]), 999_999]
    figure = draw(plot_orthogonal(cuts, title="cyc10", border_ids=border), tmp_path)
    assert f"{len(present)} particles, 1 at the border (dashed)" in titles_of(figure)
    middle = figure.axes[1]
    lines = [entry for entry in middle.collections if isinstance(entry, LineCollection)]
    dashes = [entry.get_linestyle()[0][1] is not None for entry in lines]
    assert dashes == [False, True]
    bare = draw(plot_orthogonal(cut_orthogonal(image), title="grey alone"), tmp_path)
    assert len(bare.axes) == 3


def test_methods_are_counted_beside_each_other(sample, tmp_path):
    image, _, labels = sample
    cut = cut_orthogonal(image, labels=labels)[0]
    count = np.count_nonzero(np.unique(cut.labels_yx))
    methods = {"truth": cut.labels_yx, "paper": (cut.labels_yx > 0).astype(int)}
    figure = draw(plot_methods([(cut, methods), (cut, methods)], truth="truth"), tmp_path)
    assert titles_of(figure)[1:3] == [f"truth: {count}", "paper: 1"]


def test_solids_are_drawn_with_their_box(sample, tmp_path):
    solid = coarsen_labels(sample[2])
    figure = draw(plot_solids(solid, title="cyc10", camera=Camera(width_px=120)), tmp_path)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["x 9.6 µm", "y 9.6 µm", "z 9.6 µm"]
    assert len(figure.axes[0].lines) == 12


def test_sizes_keep_border_particles_apart(tmp_path):
    table = pd.DataFrame(
        {
            "equivalent_diameter_um": [1.0, 2.0, 3.0, 9.0],
            "volume_um3": [1.0, 8.0, 27.0, 729.0],
            "touches_border": [False, False, False, True],
        }
    )
    figure = draw(plot_sizes({"cyc10": table, "none": table.iloc[:0]}), tmp_path)
    assert titles_of(figure)[0] == "cyc10: 3 complete, 1 truncated"
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert "median 2 µm (complete)" in labels
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert sum(heights) == 4
    draw(plot_sizes({}), tmp_path)


def test_weighted_median():
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([10.0, 1.0, 1.0])
    assert weighted_median(values, weights) == 3.0
    assert weighted_median(values, np.ones(3)) == 2.0


def make_scores():
    row = {"sample": "cyc10", "n_true": 9, "n_predicted": 8, "ap_50": 0.91, "ap_70": 0.8,
           "ap_90": 0.4, "panoptic_quality": 0.85, "splits": 1, "merges": 2,
           "surface_mean_um": 0.05, "surface_p95_um": float("nan")}  # fmt: skip
    return pd.DataFrame([{**row, "method": name} for name in ("watershed", "paper")])


def test_scores_are_written_on_their_bars(tmp_path):
    figure = draw(plot_segmentation_scores(make_scores()), tmp_path)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts.count("0.91") == 2
    assert texts.count("n/a") == 2
    draw(plot_segmentation_scores(make_scores().iloc[:0].assign(sample=[])), tmp_path)


def test_curves_mark_the_best_epoch(tmp_path):
    history = pd.DataFrame(
        {"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 1.5, 2.0]}
    )
    figure = draw(plot_detector_curves(history), tmp_path)
    assert "lowest validation: epoch 2" in figure.axes[0].get_legend_handles_labels()[1]
    whole = history.assign(
        prob_loss=1.0, val_prob_loss=1.0, dist_loss=2.0, val_dist_loss=2.0, learning_rate=1e-3
    )
    assert len(draw(plot_detector_curves(whole), tmp_path).axes) == 4


def test_examples_have_a_panel_each(packing, tmp_path):
    labels, _, grey = packing
    planes = (5, 12, 20, 30, 40)
    figure = plot_detector_examples(
        [grey[z] for z in planes], [labels[z] for z in planes], [labels[z + 1] for z in planes],
        titles=["first"],
    )  # fmt: skip
    draw(figure, tmp_path)
    assert sum(bool(axes.images) for axes in figure.axes) == 5
    assert titles_of(figure) == ["first"]


def test_long_thin_sections_keep_their_proportions(tmp_path):
    cut = SectionCut("xz", 1.0, (0.4, 0.1), np.random.default_rng(0).random((20, 200), np.float32))
    figure = draw(plot_orthogonal([cut], title="thin"), tmp_path)
    assert figure.axes[0].get_aspect() == pytest.approx(4.0)
