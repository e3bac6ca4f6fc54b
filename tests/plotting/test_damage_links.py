"""Figures of links, errors and correlations show what the tables hold."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from ncm_kedro.plotting.damage.correlation import plot_autoencoder_errors, plot_damage_correlations
from ncm_kedro.plotting.damage.links import plot_circular_links, plot_link_matrices
from ncm_kedro.plotting.style import BLUE, RED

NAMES = ["volume_um3", "elongation", "noise"]
MINUS = "\N{MINUS SIGN}"


def list_links(**signs):
    """By sample, the correlations of the three pairs; those of 0.3 at least are shown."""
    pairs = [(NAMES[0], NAMES[1]), (NAMES[0], NAMES[2]), (NAMES[1], NAMES[2])]
    rows = [
        {"sample": sample, "first": first, "second": second, "r": r, "shown": abs(r) >= 0.3}
        for sample, values in signs.items()
        for (first, second), r in zip(pairs, values, strict=True)
    ]
    table = pd.DataFrame(rows)
    sign = np.sign(table["r"]).where(table["shown"], 0)
    total = sign.groupby([table["first"], table["second"]]).transform("sum").abs()
    return table.assign(common=(total == len(signs)) & (len(signs) > 1))


def draw(figure):
    figure.savefig(BytesIO(), dpi=40)
    return figure


def find_bands(axes):
    return [patch for patch in axes.patches if (patch.get_gid() or "").startswith("link")]


def read(axes):
    return [text.get_text() for text in axes.texts]


def test_circles_have_a_band_and_a_sign_per_link():
    links = list_links(cyc10=(0.8, -0.5, 0.1), cyc50=(0.6, 0.4, -0.9))
    first, second = draw(plot_circular_links(links, NAMES)).axes
    assert [len(find_bands(axes)) for axes in (first, second)] == [2, 3]
    assert (read(first).count("+"), read(first).count(MINUS)) == (1, 1)
    assert (read(second).count("+"), read(second).count(MINUS)) == (2, 1)
    assert {"Volume", "Elongation", "noise"} <= set(read(first))
    assert first.get_title(loc="left") == "cyc10: 2 links"
    common, other = find_bands(first)
    assert common.get_facecolor()[:3] == to_rgb(RED)
    assert other.get_facecolor()[:3] == to_rgb(BLUE)
    assert common.get_alpha() < 0.4 < other.get_alpha()


def test_a_band_is_as_wide_as_its_correlation():
    links = list_links(cyc10=(0.8, 0.0, 0.0), cyc50=(0.4, 0.0, 0.0))
    widths = []
    for axes in draw(plot_circular_links(links, NAMES)).axes:
        (band,) = find_bands(axes)
        angle = band.get_path().vertices[:, 0]
        near = angle[angle < 2 * np.pi / 3]
        widths.append(np.ptp(near))
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.02)


@pytest.mark.parametrize("samples", [("one",), ("p", "q", "r"), ("p", "q", "r", "s")])
def test_any_number_of_samples_and_no_link_at_all(samples):
    links = list_links(**{sample: (0.1, -0.2, 0.05) for sample in samples})
    circles = draw(plot_circular_links(links, NAMES))
    assert len(circles.axes) == len(samples)
    assert not any(find_bands(axes) for axes in circles.axes)
    assert circles.axes[0].get_title(loc="left") == f"{samples[0]}: no links"
    matrices = draw(plot_link_matrices(links, NAMES))
    assert len(matrices.axes) == len(samples) + 1
    words = [text.get_text() for legend in circles.legends for text in legend.get_texts()]
    assert any("faint" in word for word in words) == (len(samples) > 1)


def test_matrices_are_symmetric_and_write_their_values():
    links = list_links(cyc10=(0.8, -0.5, np.nan))
    axes = draw(plot_link_matrices(links, NAMES)).axes[0]
    shown = axes.images[0].get_array()
    assert shown.filled(9).tolist() == [[1, 0.8, -0.5], [0.8, 1, 9], [-0.5, 9, 1]]
    assert sorted(read(axes)) == sorted([".80", ".80", "-.50", "-.50", "n/a", "n/a"])
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "Volume", "Elongation", "noise",
    ]  # fmt: skip


def test_errors_are_drawn_with_the_chosen_number():
    errors = pd.DataFrame(
        [
            (d, repeat, method, 0.5 / d, 0.6 / d, 0.9 / d)
            for d in (1, 2, 3) for repeat in (0, 1) for method in ("regularised", "plain", "pca")
        ],
        columns=["d", "repeat", "method", "train_error", "validation_error", "masked_error"],
    )  # fmt: skip
    figure = draw(plot_autoencoder_errors(errors, 2))
    assert len(figure.axes) == 3
    (line,) = [line for line in figure.axes[0].lines if line.get_gid() == "chosen"]
    assert list(line.get_xdata()) == [2, 2]
    assert [len(axes.containers) for axes in figure.axes] == [3, 4, 4]
    solid = figure.axes[2].containers[0].lines[0]
    np.testing.assert_allclose(solid.get_ydata(orig=False), [0.9, 0.45, 0.3])


def tabulate_correlations(samples):
    by_sample = pd.DataFrame(
        [(s, n, r, 0.02) for s in samples for n, r in zip(NAMES, (0.1, -0.6, 0.3), strict=True)],
        columns=["sample", "attribute", "r_mean", "r_sd"],
    )
    differences = pd.DataFrame(
        [
            (a, b, n, 0.1, 0.02, low, 0.2, q)
            for a, b in pairwise(samples)
            for n, low, q in zip(NAMES, (-0.1, np.nan, 0.05), (0.5, 0.2, 0.01), strict=True)
        ],
        columns=[
            "sample_a", "sample_b", "attribute", "difference_mean", "difference_sd",
            "difference_low", "difference_high", "q_value",
        ],
    )  # fmt: skip
    return by_sample, differences


@pytest.mark.parametrize("samples", [["one"], ["p", "q"], ["p", "q", "r"]])
def test_correlations_stand_in_order_with_differences_above(samples):
    figure = draw(plot_damage_correlations(*tabulate_correlations(samples)))
    assert len(figure.axes) == len(samples)
    bars = figure.axes[-1]
    assert [label.get_text() for label in bars.get_xticklabels()] == [
        "Elongation", "noise", "Volume",
    ]  # fmt: skip
    assert len(bars.patches) == 3 * len(samples)
    for axes in figure.axes[:-1]:
        certain = [line for line in axes.lines if line.get_gid() == "certain"]
        assert [list(line.get_xdata()) for line in certain] == [[1]]
