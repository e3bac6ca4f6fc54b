"""The page on damage says what was found, what could fool its reader, and no more than that."""

from __future__ import annotations

import re
from dataclasses import replace

import matplotlib
import pandas as pd
import pytest
from matplotlib.figure import Figure
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

from ncm_kedro.damage.preparation.preparation import DamageData
from ncm_kedro.errors import TableError
from ncm_kedro.params.damage_attribution import AttributionParams, DamageForestParams
from ncm_kedro.plotting.damage.caveats import (
    list_chance_caveats,
    list_data_caveats,
    list_difference_caveats,
    list_floor_caveats,
    list_rank_caveats,
    list_residual_caveats,
    list_score_caveats,
)
from ncm_kedro.plotting.damage.report import (
    FIGURES,
    DamageTables,
    choose_dependences,
    draw_damage,
    render_damage_report,
)
from ncm_kedro.plotting.damage.tables import format_synchrony
from ncm_kedro.plotting.damage.words import (
    trim_number,
    write_interval,
    write_number,
    write_p,
    write_percent,
    write_sign,
)

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


def make_page(data, tables):
    """Page with small blank figures."""
    blank = dict.fromkeys(FIGURES, Figure(figsize=(0.2, 0.2)))
    return render_damage_report(
        data, tables, blank, params=PARAMS, forest=DamageForestParams(), dimensions=2
    )


def read(page):
    """Text of a page, its pictures left out."""
    return re.sub(r"<img [^>]*>", "", page)


def test_page_of_two_samples():
    page = make_page(make_data(), make_tables())
    text = read(page)
    headings = re.findall(r"<h2[^>]*>(\d+) (.*?)</h2>", text)
    assert [int(number) for number, _ in headings] == list(range(1, 11))
    for heading, words in zip(
        headings,
        ("used", "well", "goes with", "Between", "neighbours", "sure", "leaking", "paper",
         "simulated", "done"),
        strict=True,
    ):  # fmt: skip
        assert words in heading[1]
    assert page.count("data:image/png;base64,") == len(FIGURES)
    for words in (
        "not what causes it", "no replicates", "only 12 usable particles", "holds the damage",
        "Explained as one", "was grown on", "only 60 particles are used", "max_leaves",
        "was given 2 latent dimensions", "6 drivers simulated, 2 found", "70 pairs of 60 particles",
    ):  # fmt: skip
        assert words in text, words
    assert "nan" not in re.sub("<style.*?</style>", "", text, flags=re.DOTALL).lower()
    assert "http" not in text


def test_summary_quotes_the_tables():
    text = read(make_page(make_data(), make_tables()))
    assert (
        "cyc10, 60 particles: the attributes explain 55% of the variance of damage of particles "
        "held out, R² 0.55 (0.50 to 0.59)." in text
    )
    signs = make_importance(["cyc10"])["direction"].head(4).map(write_sign)
    named = ", ".join(f"{g} ({s})" for g, s in zip(list(GROUPS)[:4], signs, strict=True))
    assert f"the most telling first: {named}." in text
    told = text[text.index("these shares change") :]
    first = "leaves out 0: Yaw \N{MINUS SIGN}14.0 (\N{MINUS SIGN}19.0 to \N{MINUS SIGN}8.0), "
    assert f"{first}perhaps by chance, q = 0.24;" in told
    assert "Volume + SurfaceOuter +10.0 (+5.0 to +16.0);" in text


def test_a_sample_that_is_not_explained_gets_no_ranking():
    parts = make_data(), make_tables(dull=("cyc50",))
    figures, text = draw_damage(*parts, 2), read(make_page(*parts))
    assert "cyc50, 60 particles: the attributes explain nothing" in text
    assert "cyc10: groups of attributes" in text
    assert "cyc50: groups of attributes" not in text
    assert "cyc50: explained / %" not in text
    assert "cyc50: held-out particles are not explained at all" in text
    assert "6 drivers simulated, 1 found" in text
    for name in ("beeswarm", "uncertain_ranks", "leaks"):
        assert not any("cyc50" in words for words in texts_of(figures[name])), name
    (legend,) = figures["dependence"].legends
    assert [entry.get_text() for entry in legend.get_texts()] == ["cyc10"]


def test_a_world_without_drivers_shows_no_ranking_at_all():
    parts = make_data(), make_tables(dull=TWO)
    figures, text = draw_damage(*parts, 2), read(make_page(*parts))
    assert text.count("the attributes explain nothing of the damage of particles held out") == 4
    for words in ("groups of attributes", "the most telling first", "these shares change"):
        assert words not in text, words
    for name in ("beeswarm", "dependence", "differences", "uncertain_ranks", "leaks"):
        assert any("explain nothing" in words for words in texts_of(figures[name])), name


def test_page_of_one_sample_compares_nothing():
    data = make_data(("cyc10",), notes=("cyc10 is the only sample",))
    parts = data, make_tables(("cyc10",))
    figures, text = draw_damage(*parts, 2), read(make_page(*parts))
    assert "There is one sample: nothing to compare it with." in text
    assert ">cyc10 is the only sample.<" in text
    assert "no replicates" not in text
    assert texts_of(figures["differences"]) == ["There is one sample: nothing to compare it with."]


def test_samples_that_were_not_scanned_alike_are_not_compared():
    data = make_data(comparable=False, notes=("voxel sizes differ",))
    parts = data, make_tables()
    figures, text = draw_damage(*parts, 2), read(make_page(*parts))
    for words in ("Voxel sizes differ.", "not scanned alike and are not compared", "do not read"):
        assert words in text, words
    for words in ("variance explained</figcaption>", "these shares change", "largest changes"):
        assert words not in text, words
    assert "cyc50 minus cyc10" not in texts_of(figures["correlations"])
    assert any("not scanned alike" in words for words in texts_of(figures["differences"]))


def test_empty_tables_leave_every_figure_with_a_sentence():
    tables = make_tables()
    names = (
        "ranks", "paper", "autoencoder_errors", "latent_links", "attribute_links", "correlations",
        "correlation_differences", "truth",
    )  # fmt: skip
    empty = {name: getattr(tables, name)[:0] for name in names}
    leaks = tables.leaks.assign(leaking=False)
    parts = make_data(), replace(tables, leaks=leaks, **empty)
    figures, text = draw_damage(*parts, 2), read(make_page(*parts))
    assert tuple(figures) == FIGURES
    assert all(texts_of(figure) for figure in figures.values())
    assert "against what was simulated" not in text.lower()
    assert "9 How it was done" in text
    assert "No uncertainty of the attributes is known" in text
    assert "No attribute that holds the damage was kept apart" in text


def test_circles_without_a_link_are_not_drawn():
    links = list_links(cyc10=(0.1, 0.1, 0.1), cyc50=(0.1, 0.1, 0.1))
    figures = draw_damage(make_data(), make_tables(latent_links=links), 2)
    assert any("count as a link" in words for words in texts_of(figures["latent_circles"]))
    assert "cyc10" in texts_of(figures["latent_matrices"])


def test_shap_values_of_other_particles_are_refused():
    tables = make_tables()
    with pytest.raises(TableError, match="not of the same particles"):
        draw_damage(make_data(), replace(tables, shap=tables.shap[::-1]), 2)


def test_dependences_are_those_of_the_groups_that_explain_most():
    importance = make_importance(["cyc10", "cyc50"])
    top = importance.index[importance["group"] == "Yaw"][-1]
    importance.loc[top, "explained"] = 0.9
    assert choose_dependences(importance)[:3] == ["yaw_deg", "volume_um3", "z_um"]
    assert len(choose_dependences(importance)) == 6


def test_a_sound_sample_has_no_caveat():
    data = make_data()
    rows = pd.concat([data.rows] * 4).assign(sample="cyc10")
    counts = data.counts.assign(particles=[400, 100, 300] * 2)
    assert list_data_caveats(replace(data, rows=rows, counts=counts)) == []
    assert list_score_caveats(make_scores(TWO)) == []
    assert list_rank_caveats(make_ranks(TWO)[:13], make_importance(["cyc10"])) == []


def test_caveats_of_the_data():
    data = make_data(("cyc10",), inputs=("surface_inner_um2",))
    counts = data.counts.assign(particles=[100, 70, 30])
    found = " ".join(
        list_data_caveats(replace(data, counts=counts, rows=data.rows.assign(block=0)))
    )
    for words in ("hold the damage (SurfaceInner)", "only 60", "1 blocks only", "70% of the"):
        assert words in found, words


def test_a_better_linear_model_is_named():
    scores = make_scores(["cyc10"])
    scores.loc[scores["model"] == "linear", ["r2", "r2_low", "r2_high"]] = (0.8, 0.75, 0.85)
    (line,) = list_score_caveats(scores)
    assert "R² 0.80 against 0.55" in line


def test_optimistic_p_values_are_named():
    synchrony, importance = make_synchrony(["cyc10"]), make_importance(["cyc10"])
    (line,) = list_chance_caveats(synchrony, importance, PARAMS)
    assert "p and q are optimistic" in line
    chance = synchrony.assign(p_value=0.5)
    assert list_chance_caveats(chance, importance, PARAMS) == []


@pytest.mark.parametrize(
    ("name", "enough"), [("permutations", 259), ("bootstraps", 259), ("differences", 519)]
)
def test_too_few_repeats_are_named(name, enough):
    """13 groups: with n repeats the least p is 1 / (n + 1), twice that where it is two-sided."""

    def list_found(count):
        if name == "differences":
            few = PARAMS.model_copy(update={"bootstraps": count})
            return list_difference_caveats(make_differences(TWO), few)
        few = PARAMS.model_copy(update={name: count})
        alone = make_synchrony(["cyc10"]).assign(p_value=0.5)
        return list_chance_caveats(alone, make_importance(["cyc10"]), few)

    assert list_found(enough) == []
    (line,) = list_found(enough - 1)
    assert line.endswith(f"to {enough + 1} or more.")


def test_groups_near_the_noise_and_unsure_firsts_are_named():
    importance = make_importance(["cyc10"])
    importance.loc[3, ["explained_low", "significant"]] = (0.0, True)
    (line,) = list_floor_caveats(importance)
    assert line.endswith(f"noise column: {importance.loc[3, 'group']}.")
    ranks = make_ranks(["cyc10"])
    ranks.loc[ranks["group"] == importance.loc[0, "group"], "rank"] = 5
    (line,) = list_rank_caveats(ranks, importance)
    assert "in 0% of the draws" in line


def test_residuals_that_neighbours_share_are_named():
    synchrony = make_synchrony(TWO)
    shared = synchrony.assign(quantity="morans_i_residual").query("value < 0.13")
    (line,) = list_residual_caveats(shared, 0.05)
    assert line.startswith("cyc10: neighbours also share")
    assert list_residual_caveats(synchrony, 0.05) == []


def test_synchrony_has_a_row_per_quantity():
    table = format_synchrony(make_synchrony(TWO), {"morans_i": "Moran's I of damage"})
    assert list(table) == ["quantity", "cyc10", "cyc50", "cyc50 minus cyc10", "by chance"]
    assert table["quantity"].tolist() == ["Moran's I of damage", "spread"]
    first = table.loc[0, "cyc10"].replace("\N{NO-BREAK SPACE}", " ")
    assert first == "0.120 (0.070 to 0.210), p = 0.003"
    assert table.loc[0, "by chance"] == "\N{MINUS SIGN}0.002"
    assert pd.isna(table.loc[1, "cyc50 minus cyc10"])


def test_numbers_are_written_plainly():
    minus, nan = "\N{MINUS SIGN}", float("nan")
    assert [write_sign(x) for x in (0.5, -0.5, 0.1, nan)] == ["+", minus, "~", ""]
    assert [trim_number(x) for x in ("-0.00", "+0.0", "-0.2", "+0.2")] == [
        "0.00", "0.0", f"{minus}0.2", "+0.2",
    ]  # fmt: skip
    assert write_percent(0.1, -0.05, 0.2, signed=True) == f"+10.0 ({minus}5.0 to +20.0)"
    assert write_interval(0.5, 0.25, 0.75) == "0.50 (0.25 to 0.75)"
    assert write_interval(0.5, nan, nan, 1) == "0.5"
    assert (write_interval(nan, nan, nan), write_number(nan), write_p(nan)) == ("", "", "")
    assert write_p(0.00123) == "0.0012"


def test_the_library_of_circles_changes_no_other_figure():
    assert matplotlib.rcParams["savefig.pad_inches"] == 0.1
    assert matplotlib.rcParams["savefig.bbox"] is None
