"""Figures of damage attribution show what the tables hold, whatever is in them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ncm_kedro.particles.columns import ATTRIBUTES
from ncm_kedro.plotting.axes import SMALL
from ncm_kedro.plotting.damage.correlation import plot_synchrony
from ncm_kedro.plotting.damage.importance import (
    plot_importance,
    plot_importance_differences,
    plot_scores,
    plot_uncertain_ranks,
)
from ncm_kedro.plotting.damage.paper import plot_leaks, plot_paper_robustness
from ncm_kedro.plotting.damage.shap import plot_beeswarm, plot_dependence
from ncm_kedro.plotting.style import RED

GROUPS = {
    "Volume + SurfaceOuter": ["volume_um3", "surface_outer_um2"],
    "Z": ["z_um"],
    "Sphericity + VSratio": ["sphericity", "vs_ratio"],
    "Elongation": ["elongation"],
    "PDensity": ["packing_density"],
    "DistNearest": ["distance_nearest_um"],
    "RoughOuter": ["roughness_outer"],
    "Contact": ["contact"],
    "OrienIso": ["orientation_isotropy"],
    "SphericityStd": ["sphericity_std"],
    "ElongStd": ["elongation_std"],
    "VolumeStd + a name that is much longer than a line is wide": ["volume_std_um3"],
    "Yaw": ["yaw_deg"],
}
NAMES = [members[0] for members in GROUPS.values()]
SAMPLES = ["cyc10", "cyc50", "cyc100", "a sample with a very long name"]


def make_importance(samples, groups=GROUPS, leaking=False):
    rng = np.random.default_rng(0)
    parts = []
    members = {"SurfaceInner": ["surface_inner_um2"], "EDensity": ["electron_density"]}
    members = {**(members if leaking else {}), **groups}
    for sample in samples:
        explained = 0.3 * 0.6 ** np.arange(len(members)) + rng.normal(0, 0.004, len(members))
        explained = np.append(explained, 0.004)
        rank = np.arange(1, len(members) + 2)
        parts.append(
            pd.DataFrame(
                {
                    "sample": sample, "group": [*members, "noise"],
                    "members": [",".join(names) for names in members.values()] + ["noise"],
                    "kind": ["group"] * len(members) + ["noise"], "mean_abs_shap": explained / 10,
                    "explained": explained, "explained_low": explained - 0.02,
                    "explained_high": explained + 0.025, "rank": rank,
                    "rank_low": np.maximum(rank - 1, 1), "rank_high": rank + 2,
                    "p_value": 0.01 * rank, "q_value": 0.01 * rank,
                    "direction": rng.uniform(-1, 1, len(members) + 1), "significant": rank < 5,
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True) if parts else make_importance(["a"])[:0]


def make_scores(samples, dull=()):
    rows = [
        {
            "sample": sample, "model": model, "r2": r2, "r2_low": r2 - 0.05, "r2_high": r2 + 0.04,
            "mae": 0.05 - 0.02 * r2, "mae_low": 0.045 - 0.02 * r2, "mae_high": 0.056 - 0.02 * r2,
            "p_value": 0.4 if sample in dull else 0.005, "explains": sample not in dull,
        }
        for sample in samples
        for model, r2 in (("forest", -0.02 if sample in dull else 0.55), ("linear", 0.3),
                          ("mean", -0.01))
    ]  # fmt: skip
    return pd.DataFrame(rows) if rows else make_scores(["a"])[:0]


def make_differences(samples):
    rows = [
        {
            "sample_a": first, "sample_b": second, "group": group, "difference": 0.1 - 0.02 * n,
            "low": 0.05 - 0.02 * n, "high": 0.16 - 0.02 * n, "p_value": 0.01 * n,
            "q_value": 0.02 * n,
        }
        for first, second in pairwise(samples)
        for n, group in enumerate(GROUPS)
    ]  # fmt: skip
    return pd.DataFrame(rows) if rows else make_differences(["a", "b"])[:0]


def make_shap(samples, count=400, names=NAMES):
    rng = np.random.default_rng(0)
    identity = {
        "sample": np.repeat(samples, count), "particle_id": np.tile(np.arange(count), len(samples)),
    }  # fmt: skip
    size = count * len(samples)
    values = {name: rng.gamma(4.0, 10.0, size) for name in names}
    shap = {
        name: 0.04 / (1 + n) * np.tanh((x - 40) / 20) + rng.normal(0, 0.002, size)
        for n, (name, x) in enumerate(values.items())
    }
    table = pd.DataFrame({**identity, **values})
    if len(names) > 1:
        table.loc[::7, names[1]] = np.nan
    return pd.DataFrame({**identity, "damage": 0.1, "prediction": 0.1, **shap}), table


def make_ranks(samples):
    rng = np.random.default_rng(0)
    rows = [
        {"sample": sample, "group": group, "draw": draw, "rank": rank}
        for sample in samples
        for draw in range(30)
        for group, rank in zip(
            GROUPS,
            1 + np.argsort(np.argsort(np.arange(len(GROUPS)) + rng.normal(0, draw > 0, 13))),
            strict=True,
        )
    ]
    return pd.DataFrame(rows, columns=["sample", "group", "draw", "rank"])


def make_paper(samples):
    rng = np.random.default_rng(0)
    names = [attribute.name for attribute in ATTRIBUTES if attribute.name not in
             ("x_um", "y_um", "damage")]  # fmt: skip
    parts = []
    for n, sample in enumerate(samples):
        for strategy, wobble in (("draws", 0.25), ("seeds", 0.08)):
            for number in range(10):
                worth = np.roll(0.8 ** np.arange(len(names)), n) * rng.lognormal(0, wobble, 21)
                parts.append(
                    pd.DataFrame({"sample": sample, "strategy": strategy, "number": number,
                                  "attribute": names, "share": worth / worth.sum()})
                )  # fmt: skip
    columns = ["sample", "strategy", "number", "attribute", "share"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def make_synchrony(samples):
    own = [
        {"sample_a": sample, "sample_b": None, "quantity": quantity, "value": value + 0.03 * n,
         "low": value - 0.05, "high": value + 0.09, "expected": expected, "p_value": p,
         "graph": graph}
        for n, sample in enumerate(samples)
        for quantity, value, expected, p, graph in (
            ("morans_i", 0.12, -0.002, 0.003, "contact"), ("spread", 0.2, None, None, None))
    ]  # fmt: skip
    pairs = [
        {"sample_a": first, "sample_b": second, "quantity": "morans_i", "value": 0.03,
         "low": -0.08, "high": 0.15, "expected": 0.0, "p_value": 0.5, "graph": "contact"}
        for first, second in pairwise(samples)
    ]  # fmt: skip
    rows = own + pairs
    return pd.DataFrame(rows) if rows else make_synchrony(["a"])[:0]


FIGURES = {
    "importance": lambda s: plot_importance(make_importance(s), make_scores(s, s[1:2])),
    "differences": lambda s: plot_importance_differences(make_differences(s)),
    "scores": lambda s: plot_scores(make_scores(s, s[1:2])),
    "ranks": lambda s: plot_uncertain_ranks(make_ranks(s), make_importance(s)),
    "beeswarm": lambda s: plot_beeswarm(*make_shap(s), NAMES),
    "dependence": lambda s: plot_dependence(*make_shap(s), NAMES),
    "paper": lambda s: plot_paper_robustness(make_paper(s)),
    "leaks": lambda s: plot_leaks(make_importance(s), make_importance(s, leaking=True)),
    "synchrony": lambda s: plot_synchrony(make_synchrony(s)),
}


def texts_of(figure):
    found = []
    for axes in figure.axes:
        found += [axes.get_title(), *(text.get_text() for text in axes.texts)]
        found += [label.get_text() for label in axes.get_yticklabels()]
    return [text.replace("\n", " ") for text in found if text]


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("name", FIGURES)
def test_figures_fit_a_page_and_nothing_is_cut_off(name, count):
    figure = FIGURES[name](SAMPLES[:count])
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    assert figure.get_figwidth() <= 7.2
    page = figure.bbox
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in filter(lambda axes: axes.get_visible(), figure.axes):
        box = axes.get_tightbbox(renderer)
        assert box.x0 >= page.x0 - 1
        assert box.y0 >= page.y0 - 1
        assert box.x1 <= page.x1 + 1
        assert box.y1 <= page.y1 + 1
        sizes = [text.get_fontsize() for text in [*axes.texts, *axes.get_xticklabels()]]
        assert min(sizes, default=SMALL) >= SMALL
    if count == 0:
        sentence = " ".join(texts_of(figure))
        assert sentence.endswith(".")


def test_bars_are_as_long_as_what_is_explained():
    table = make_importance(["a"])
    axes = plot_importance(table, make_scores(["a"])).axes[0]
    groups = table[table["kind"] == "group"]
    bars = [bar for bar in axes.patches if bar.get_width() < 100 and bar.get_height() < 1]
    assert [bar.get_width() for bar in bars] == pytest.approx((100 * groups["explained"]).tolist())
    assert [bar.get_alpha() == 1.0 for bar in bars] == groups["significant"].tolist()
    assert "1 (1-3)" in texts_of(axes.figure)
    signs = [text for text in texts_of(axes.figure) if text in ("+", "~", "\N{MINUS SIGN}")]
    expected = ["~" if abs(d) < 0.2 else "+" if d > 0 else "\N{MINUS SIGN}"
                for d in groups["direction"]]  # fmt: skip
    assert signs == expected


def test_what_explains_nothing_is_not_ranked():
    table = make_importance(["a", "b", "c"])
    scores = make_scores(["a", "b"], dull=["b"])
    figure = plot_importance(table, scores)
    ranked, dull, unknown = figure.axes[:3]
    assert len(ranked.get_yticklabels()) == len(GROUPS)
    for axes, words in ((dull, "explain nothing"), (unknown, "not evaluated")):
        assert not axes.patches
        assert words in axes.texts[0].get_text().replace("\n", " ")
    assert "-0.02" in dull.texts[0].get_text()


def test_differences_are_filled_where_found():
    axes = plot_importance_differences(make_differences(["a", "b"])).axes[0]
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    filled = sum(line.get_markerfacecolor() != "white" for line in marks)
    assert (len(marks), filled) == (len(GROUPS), 3)
    assert axes.get_title() == "b minus a"


def test_only_what_leaks_is_red():
    figure = plot_leaks(make_importance(["a"]), make_importance(["a"], leaking=True))
    leaking, free = figure.axes
    red = [bar.get_facecolor()[:3] == to_rgb(RED) for bar in leaking.patches]
    assert red == [True, True] + [False] * 6
    assert not any(bar.get_facecolor()[:3] == to_rgb(RED) for bar in free.patches)


def test_attributes_stand_in_order_by_their_paper_names():
    shap, values = make_shap(["a", "b"])
    axes = plot_beeswarm(shap, values, NAMES[::-1]).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[:3] == ["Volume", "Z", "Sphericity"]
    assert plot_dependence(shap, values, NAMES).axes[0].get_xlabel() == "Volume / µm³"
    table = make_paper(["a"])
    axes = plot_paper_robustness(table).axes[0]
    order = table.groupby("attribute")["share"].mean().sort_values(ascending=False)
    assert axes.get_yticklabels()[0].get_text() == "Z"
    triangles = axes.collections[0].get_offsets()
    assert len(triangles) == 10 * 21
    assert axes.lines[0].get_xdata() == pytest.approx(100 * order.to_numpy())


def test_ranks_are_counted_and_the_measured_marked():
    rows = [("a", "X", draw, 1 if draw < 1 else 2) for draw in range(4)]
    rows += [("a", "Y", draw, 2 if draw < 1 else 1) for draw in range(4)]
    table = pd.DataFrame(rows, columns=["sample", "group", "draw", "rank"])
    importance = make_importance(["a"], {"X": ["z_um"], "Y": ["elongation"]})
    axes = plot_uncertain_ranks(table, importance).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["X", "Y"]
    assert axes.images[0].get_array().tolist() == [[25, 75], [75, 25]]
    assert list(axes.lines[0].get_xdata()) == [1, 2]


def test_chance_is_drawn_beside_likeness():
    figure = plot_synchrony(make_synchrony(["a", "b"]))
    own = figure.axes[0]
    chance = [line.get_xdata()[0] for line in own.lines if line.get_marker() == "|"]
    assert chance == [-0.002, -0.002]
    texts = texts_of(figure)
    assert "p = 0.003" in texts
    assert "b minus a (contact)" in texts
    assert "Not measured." in texts
