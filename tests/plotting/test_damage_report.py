"""The page on damage states what was found, what limits it, and no more than that."""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import pandas as pd
import pytest
from page_text import BLANK_PNG, list_headings, list_warnings, read_text
from test_damage_figures import (
    GROUPS,
    NAMES,
    make_differences,
    make_importance,
    make_paper,
    make_ranks,
    make_scores,
    make_shap,
    make_synchrony,
    texts_of,
)
from test_damage_links import list_links

from ncm_kedro.damage.preparation import DamageData
from ncm_kedro.errors import TableError
from ncm_kedro.params.damage_attribution import AttributionParams, DamageForestParams
from ncm_kedro.plotting.damage.figures import choose_dependences, draw_damage
from ncm_kedro.plotting.damage.report import render_damage_report
from ncm_kedro.plotting.damage.tables import FIGURES, DamageTables

PARAMS = AttributionParams(permutations=400, bootstraps=600)
TWO = ("cyc10", "cyc50")
COUNT = 60


def make_data(samples=TWO, **changes):
    _, rows = make_shap(list(samples), COUNT)
    counts = [
        (sample, reason, number)
        for sample in samples
        for reason, number in (("all", 100), ("touches the border", 40), ("used", COUNT))
    ]
    excluded_attributes = [("homogeneity", "Homogeneity", "holds the damage")]
    data = DamageData(
        rows=rows.assign(damage=0.1, block=rows["particle_id"] % 16), samples=tuple(samples),
        inputs=tuple(NAMES), leaking=("homogeneity",), groups=tuple(map(tuple, GROUPS.values())),
        counts=pd.DataFrame(counts, columns=["sample", "reason", "particles"]),
        excluded_attributes=pd.DataFrame(
            excluded_attributes, columns=["attribute", "paper_name", "reason"]
        ),
        rejections={"cyc5": "only 12 usable particles"}, notes=(), comparable=True,
        preset="corrected",
    )  # fmt: skip
    return replace(data, **changes)


def make_correlations(samples):
    own = pd.DataFrame(
        [(s, name, 0.4 * (-1) ** n, 0.4, 0.02) for s in samples for n, name in enumerate(NAMES)],
        columns=["sample", "attribute", "r", "r_mean", "r_sd"],
    )
    names = [
        "sample_a", "sample_b", "attribute", "difference_mean", "difference_sd", "difference",
        "difference_low", "difference_high", "p_value", "q_value",
    ]  # fmt: skip
    between = [(*samples[:2], name, 0.1, 0.02, 0.1, -0.1, 0.3, 0.3, 0.4) for name in NAMES]
    return own, pd.DataFrame(between if len(samples) > 1 else [], columns=names)


def make_truth(samples):
    return pd.DataFrame(
        [
            (s, driver, name, weight, group, rank, 0.3, rank < 3, direction, direction * weight > 0)
            for s in samples
            for driver, name, weight, group, rank, direction in (
                ("size", "volume_um3", 0.5, "Volume + SurfaceOuter", 1, 0.9),
                ("depth", "z_um", -0.4, "Z", 2, 0.8),
                ("contact", "contact", 0.3, "Contact", 8, 0.9),
            )
        ],
        columns=["sample", "driver", "attribute", "simulated_weight", "group", "rank", "explained",
                 "significant", "direction", "direction_agrees"],
    )  # fmt: skip


def make_tables(samples=TWO, dull=(), **changes):
    samples = list(samples)
    errors = [
        (d, repeat, method, 0.5 / d, 0.6 / d, 0.5 + (d - 2) ** 2)
        for d in (1, 2, 3) for repeat in (0, 1) for method in ("regularised", "plain", "pca")
    ]  # fmt: skip
    links = list_links(**{sample: (0.8, -0.5, 0.1) for sample in samples})
    leaks = make_importance(samples, leaking=True).query("kind == 'group'")
    leaks = leaks.assign(leaking=leaks["group"].isin(["SurfaceInner", "EDensity"]), r2=0.8)
    ends = ["volume_um3", "elongation", "noise"]
    correlations, differences = make_correlations(samples)
    paper = make_paper(samples).assign(
        mae_train=0.01, mae_test=0.02, mae_mean=0.03, r2_test=0.5, n_train=57, n_test=3
    )
    tables = DamageTables(
        importance=make_importance(samples), scores=make_scores(samples, dull),
        attributes=pd.DataFrame(
            [(s, name, 0.1, 0.5) for s in samples for name in NAMES],
            columns=["sample", "attribute", "explained", "direction"],
        ),
        differences=make_differences(samples), ranks=make_ranks(samples),
        shap=make_shap(samples, COUNT)[0], leaks=leaks, paper=paper,
        synchrony=make_synchrony(samples).assign(n_particles=COUNT, n_pairs=70),
        autoencoder_errors=pd.DataFrame(
            errors,
            columns=["d", "repeat", "method", "train_error", "validation_error", "masked_error"],
        ),
        latents=pd.DataFrame({"latent": ends, "kept": [True, True, False]}), latent_links=links,
        decoded=pd.DataFrame({"attribute": ends}), attribute_links=links,
        correlations=correlations, correlation_differences=differences, truth=make_truth(samples),
    )  # fmt: skip
    return replace(tables, **changes)


def make_page(data, tables, params=PARAMS):
    """Page with blank figures."""
    blank = dict.fromkeys(FIGURES, BLANK_PNG)
    return render_damage_report(
        data, tables, blank, params=params, forest=DamageForestParams(), dimensions=2
    )


@pytest.fixture(scope="module")
def full():
    return make_page(make_data(), make_tables())


def test_the_page_holds_the_numbers_of_the_tables(full):
    text = read_text(full)
    assert len(list_headings(full)) == 10
    assert full.count("<img ") == len(FIGURES)
    for words in (
        "cyc10, 60 particles: the attributes explain 55% of the variance", "R² 0.55 (0.50 to 0.59)",
        "0.120 (0.070 to 0.210), p = 0.003", "70 pairs of 60 particles", "only 12 usable particles",
        "6 drivers simulated, 2 found", "R² 0.55 without them, 0.80 with them",
        "Yaw \u221214.0 (\u221219.0 to \u22128.0), perhaps by chance, q = 0.24;",
        "Volume + SurfaceOuter +10.0 (+5.0 to +16.0);", "2 latent dimensions", "max_leaves",
    ):  # fmt: skip
        assert words in text, words
    assert "nan" not in text.lower()


def test_a_sample_that_is_not_explained_gets_no_ranking():
    parts = make_data(), make_tables(dull=("cyc50",))
    figures, page = draw_damage(*parts, 2), make_page(*parts)
    text = read_text(page)
    assert "cyc10: groups of attributes" in text
    assert "cyc50: groups of attributes" not in text
    assert "cyc50: explained / %" not in text
    assert "6 drivers simulated, 1 found" in text
    assert sum("cyc50: " in line and "noise" in line for line in list_warnings(page)) == 2
    for name in ("beeswarm", "uncertain_ranks", "leaks"):
        assert not any("cyc50" in words for words in texts_of(figures[name])), name
    (legend,) = figures["dependence"].legends
    assert [entry.get_text() for entry in legend.get_texts()] == ["cyc10"]


def test_without_drivers_no_ranking_is_shown_at_all():
    parts = make_data(), make_tables(dull=TWO)
    figures, page = draw_damage(*parts, 2), make_page(*parts)
    assert "groups of attributes" not in read_text(page)
    assert page.count("<img ") == len(FIGURES) - 5
    for name in ("beeswarm", "dependence", "differences", "uncertain_ranks", "leaks"):
        assert any("explain nothing" in words for words in texts_of(figures[name])), name


@pytest.mark.parametrize(
    ("samples", "changes"),
    [(("cyc10",), {"notes": ("cyc10 is alone",)}), (TWO, {"comparable": False, "notes": ("Odd",)})],
)
def test_samples_that_cannot_be_compared_are_not(samples, changes):
    parts = make_data(samples, **changes), make_tables(samples)
    figures, page = draw_damage(*parts, 2), make_page(*parts)
    assert f"{changes['notes'][0]}." in list_warnings(page)
    assert page.count("<img ") == len(FIGURES) - 1
    assert "variance explained</figcaption>" not in page
    assert len(texts_of(figures["differences"])) == 1
    assert "cyc50 minus cyc10" not in texts_of(figures["correlations"])


def test_empty_tables_leave_every_figure_with_a_sentence():
    tables = make_tables()
    names = (
        "ranks", "paper", "autoencoder_errors", "latent_links", "attribute_links", "correlations",
        "correlation_differences", "truth",
    )  # fmt: skip
    empty = {name: getattr(tables, name)[:0] for name in names}
    parts = make_data(), replace(tables, leaks=tables.leaks.assign(leaking=False), **empty)
    figures, page = draw_damage(*parts, 2), make_page(*parts)
    assert tuple(figures) == FIGURES
    assert all(texts_of(figure) for figure in figures.values())
    assert len(list_headings(page)) == 9
    assert page.count("<img ") == len(FIGURES) - 2


def test_shap_values_of_other_particles_are_refused():
    tables = make_tables()
    with pytest.raises(TableError):
        draw_damage(make_data(), replace(tables, shap=tables.shap[::-1]), 2)


def test_dependences_are_those_of_the_groups_that_explain_most():
    importance = make_importance(TWO)
    importance.loc[importance.index[importance["group"] == "Yaw"][-1], "explained"] = 0.9
    assert choose_dependences(importance)[:3] == ["yaw_deg", "volume_um3", "z_um"]
    assert len(choose_dependences(importance)) == 6


SCORES = make_scores(TWO)
BETTER = SCORES.assign(**{
    name: SCORES[name].where(SCORES["model"] != "linear", value)
    for name, value in (("r2", 0.8), ("r2_low", 0.75), ("r2_high", 0.85))
})  # fmt: skip
IMPORTANCE = make_importance(TWO)
NEAR = IMPORTANCE.assign(explained_low=IMPORTANCE["explained_low"].where(IMPORTANCE.index != 3, 0))
RANKS = make_ranks(TWO)
FIRST = RANKS["group"] == next(iter(GROUPS))
CHANCE = make_synchrony(TWO).assign(n_particles=COUNT, n_pairs=70, p_value=0.5)
SHARED = pd.concat([CHANCE, CHANCE.assign(quantity="morans_i_residual", p_value=0.01)])


def count_rows(**particles):
    rows = make_data().counts
    return {"counts": rows.assign(particles=rows["reason"].map(particles))}


@pytest.mark.parametrize(
    ("data", "tables", "numbers"),
    [
        ({}, {"synchrony": make_tables().synchrony}, ["0.12, p = 0.003", "0.15, p = 0.003"]),
        ({}, {"synchrony": SHARED}, ["0.12, p = 0.01", "0.15, p = 0.01"]),
        ({}, {"scores": BETTER}, ["R² 0.80 against 0.55"] * 2),
        ({}, {"importance": NEAR}, [IMPORTANCE.loc[3, "group"]]),
        ({}, {"ranks": RANKS.assign(rank=RANKS["rank"].where(~FIRST, 5))}, ["in 0% of the"] * 2),
        (count_rows(**{"all": 100, "touches the border": 70, "used": 30}), {}, ["70%"] * 2),
        ({"inputs": ("surface_inner_um2", *NAMES)}, {}, ["(SurfaceInner)"]),
        ({"rows": make_data().rows.assign(block=1)}, {}, ["1 blocks"] * 2),
    ],
)
def test_what_limits_the_conclusions_is_warned_of(data, tables, numbers):
    sound = list_warnings(make_page(make_data(), make_tables(synchrony=CHANCE)))
    page = make_page(make_data(**data), make_tables(**{"synchrony": CHANCE, **tables}))
    found = [line for line in list_warnings(page) if line not in sound]
    assert len(found) == len(numbers)
    assert all(number in line for line, number in zip(found, numbers, strict=True)), found


@pytest.mark.parametrize(
    ("name", "enough", "needed"), [("permutations", 259, 260), ("bootstraps", 519, 520)]
)
def test_too_few_repeats_are_warned_of(name, enough, needed):
    """13 groups: with n repeats the smallest p is 1 / (n + 1), twice that where it is two-sided."""

    def list_found(count):
        params = PARAMS.model_copy(update={name: count})
        page = make_page(make_data(), make_tables(synchrony=CHANCE), params)
        return [line for line in list_warnings(page) if f"{count} {name}" in line]

    assert list_found(enough) == []
    (line,) = list_found(enough - 1)
    assert f"to {needed} or more." in line


def test_the_library_of_circles_changes_no_other_figure():
    assert matplotlib.rcParams["savefig.pad_inches"] == 0.1
    assert matplotlib.rcParams["savefig.bbox"] is None
