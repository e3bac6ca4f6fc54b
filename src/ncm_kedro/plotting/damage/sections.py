"""Sections of the page on damage attribution."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.damage.attribution.synchrony import QUANTITIES, evaluate_synchrony
from ncm_kedro.damage.latent.correlation import INDEPENDENCE_CAVEAT
from ncm_kedro.damage.latent.dimension_search import choose_dimensions
from ncm_kedro.damage.latent.latent import DECODED_CAVEAT, LATENT_CAVEAT
from ncm_kedro.damage.preparation.groups import label_group
from ncm_kedro.particles.statistics.compare import REPLICATE_CAVEAT
from ncm_kedro.plotting.damage.axes import get_paper_name
from ncm_kedro.plotting.damage.caveats import (
    list_chance_caveats,
    list_data_caveats,
    list_difference_caveats,
    list_floor_caveats,
    list_rank_caveats,
    list_residual_caveats,
    list_score_caveats,
)
from ncm_kedro.plotting.damage.page import Page
from ncm_kedro.plotting.damage.summary import (
    PAIR,
    describe_changes,
    explain_no_comparison,
    list_compared,
)
from ncm_kedro.plotting.damage.tables import (
    SHOWN_ROWS,
    format_alone,
    format_correlations,
    format_differences,
    format_importance,
    format_leaks,
    format_paper_errors,
    format_paper_shares,
    format_scores,
    format_settings,
    format_synchrony,
    format_truth,
    tabulate_counts,
)
from ncm_kedro.plotting.damage.words import (
    ALONE,
    ASSOCIATION,
    AUTOENCODER,
    CAPTIONS,
    CONFIDENCE,
    DEFINITIONS,
    DIFFERENCES,
    GREY,
    LEAKING,
    MOVED,
    NO_LEAKS,
    NOT_MOVED,
    NOTHING_EXPLAINED,
    PAPER,
    PAPER_NOT_COMPARABLE,
    PAPER_UNEXPLAINED,
    SHARING,
    SYNCHRONY,
    TRUTH,
    write_number,
)
from ncm_kedro.plotting.report import Section

_GREY = {"electron_density", "homogeneity"}


def list_sections(page: Page) -> list[Section]:
    """List the sections of the page, numbered.

    Parameters
    ----------
    page
        What it is made of.
    """
    sections = [
        _describe_used(page),
        _describe_scores(page),
        _describe_drivers(page),
        _describe_comparison(page),
        _describe_synchrony(page),
        _describe_confidence(page),
        _describe_leaks(page),
        _describe_paper(page),
        *([_describe_truth(page)] if len(page.tables.truth) else []),
        _describe_method(page),
    ]
    return [
        replace(section, heading=f"{number} {section.heading}")
        for number, section in enumerate(sections, start=1)
    ]


def _describe_used(page: Page) -> Section:
    aside = pd.DataFrame(
        {"sample": list(page.data.rejections), "reason": list(page.data.rejections.values())}
    )
    excluded_attributes = page.data.excluded_attributes.rename(
        columns={"paper_name": "name in the paper"}
    )
    together = [label_group(group) for group in page.data.groups if len(group) > 1]
    text = [
        f"{len(page.data.inputs)} attributes in {len(page.data.groups)} groups may explain damage: "
        f"{', '.join(map(get_paper_name, page.data.inputs))}. "
        f"Measured with preset {page.data.preset}."
    ]
    if together:
        text.append(f"Explained as one, because they are much alike: {'; '.join(together)}.")
    tables = [
        ("Particles by what became of them", tabulate_counts(page.data.counts)),
        ("Attributes that do not explain, and why", excluded_attributes),
        ("Samples that were set aside, and why", aside),
    ]
    return Section(
        "What was used",
        warnings=list_data_caveats(page.data),
        text=text,
        tables=[(caption, table) for caption, table in tables if len(table)],
    )


def _describe_scores(page: Page) -> Section:
    return Section(
        "How well damage is explained",
        warnings=list_score_caveats(page.tables.scores),
        tables=[("Out of sample; errors in units of damage", format_scores(page.tables.scores))],
        figures=_show(page, "scores"),
    )


def _describe_drivers(page: Page) -> Section:
    samples, known = page.explained, page.keep_explained(page.tables.importance)
    shown = [
        (f"{sample}: groups of attributes", format_importance(known[known["sample"] == sample]))
        for sample in samples
    ]
    if samples:
        alone = format_alone(page.tables.attributes, samples)
        shown.append((f"Attributes as players of their own. {ALONE}", alone))
    chance = list_chance_caveats(page.tables.synchrony, known, page.params) if samples else []
    return Section(
        "What goes with damage",
        warnings=[ASSOCIATION, SHARING, *chance],
        text=[f"{sample}: {NOTHING_EXPLAINED}" for sample in page.unexplained],
        tables=shown,
        figures=_show(page, "importance", *(("beeswarm", "dependence") if samples else ())),
    )


def _describe_comparison(page: Page) -> Section:
    heading = "Between the samples"
    if len(page.data.samples) < 2 or not page.data.comparable:
        return Section(heading, text=[explain_no_comparison(page.data)])
    compared = list_compared(page.data, page.tables)
    shown = [
        (f"{second} minus {first}: variance explained", format_differences(rows))
        for (first, second), rows in compared.groupby(PAIR, sort=False)
    ]
    shown += [
        (
            f"{second} minus {first}: correlation with damage, largest changes",
            format_correlations(rows, page.tables.correlations).head(SHOWN_ROWS),
        )
        for (first, second), rows in page.tables.correlation_differences.groupby(PAIR, sort=False)
    ]
    told = (
        describe_changes(page.data, page.tables, page.params)
        if len(compared)
        else [NOTHING_EXPLAINED]
    )
    return Section(
        heading,
        warnings=[REPLICATE_CAVEAT, *list_difference_caveats(compared, page.params)],
        text=[*told, DIFFERENCES, INDEPENDENCE_CAVEAT],
        tables=shown,
        figures=_show(page, "differences") if len(compared) else [],
    )


def _describe_synchrony(page: Page) -> Section:
    return Section(
        "Do neighbours share their damage",
        warnings=list_residual_caveats(page.tables.synchrony, page.params.false_discovery),
        text=[
            *evaluate_synchrony(page.tables.synchrony).split("\n"),
            _count_pairs(page),
            SYNCHRONY,
        ],
        tables=[
            (
                "Value, its interval, and p; by chance: of damage dealt out at random",
                format_synchrony(page.tables.synchrony, QUANTITIES),
            )
        ],
        figures=_show(page, "synchrony"),
    )


def _count_pairs(page: Page) -> str:
    rows = page.tables.synchrony
    first = rows[rows["sample_b"].isna()].drop_duplicates("sample_a")
    counts = [
        f"{row['sample_a']}: {row['n_pairs']} pairs of {row['n_particles']} particles"
        for row in first.to_dict("records")
    ]
    return f"Neighbours by {rows['graph'].iloc[0]}. {'; '.join(counts)}."


def _describe_confidence(page: Page) -> Section:
    known, moved = (
        page.keep_explained(table) for table in (page.tables.importance, page.tables.ranks)
    )
    return Section(
        "How sure",
        warnings=[
            *list_floor_caveats(known),
            *list_rank_caveats(moved, known),
            *([GREY] if _GREY & {*page.data.leaking, *page.data.inputs} else []),
        ],
        text=[CONFIDENCE, MOVED if len(page.tables.ranks) else NOT_MOVED],
        figures=_show(page, "uncertain_ranks") if len(moved) else [],
    )


def _describe_leaks(page: Page) -> Section:
    heading = "What leaking would have told you"
    leaks = page.tables.leaks
    if not leaks["leaking"].any():
        return Section(heading, text=[NO_LEAKS])
    forest = page.tables.scores[page.tables.scores["model"] == "forest"].set_index("sample")["r2"]
    parts = [(str(sample), rows) for sample, rows in leaks.groupby("sample", sort=False)]
    told = [
        f"{sample}: R² {write_number(forest[sample])} without them, "
        f"{write_number(rows['r2'].iloc[0])} with them; "
        f"{rows.loc[rows['leaking'], 'explained'].sum():.0%} of the variance would go to "
        "attributes that hold the damage."
        for sample, rows in parts
    ]
    return Section(
        heading,
        text=[LEAKING, *told],
        tables=[
            (f"{sample}, leaking attributes in", format_leaks(rows))
            for sample, rows in parts
            if rows["r2"].iloc[0] > 0
        ],
        figures=_show(page, "leaks") if page.explained else [],
    )


def _describe_paper(page: Page) -> Section:
    warnings = [PAPER, *(PAPER_UNEXPLAINED.format(sample=name) for name in page.unexplained)]
    if len(page.data.samples) > 1 and not page.data.comparable:
        warnings.append(PAPER_NOT_COMPARABLE)
    shown = []
    if len(page.tables.paper):
        shown = [
            (
                "The paper's forests: share of the SHAP values",
                format_paper_shares(page.tables.paper),
            ),
            ("Their errors, in units of damage", format_paper_errors(page.tables.paper)),
        ]
    return Section(
        "The paper's analysis",
        warnings=warnings,
        text=[*_describe_autoencoder(page), LATENT_CAVEAT, DECODED_CAVEAT],
        tables=shown,
        figures=_show(
            page, "paper", "correlations", "autoencoder", "latent_matrices", "latent_circles",
            "attribute_matrices", "attribute_circles",
        ),
    )  # fmt: skip


def _describe_truth(page: Page) -> Section:
    found = page.tables.truth
    right = found["significant"].astype(bool) & found["direction_agrees"].astype(bool)
    right &= found["sample"].isin(page.explained)
    simulated = f"{len(found)} driver{'s' * (len(found) != 1)} simulated, {int(right.sum())} found."
    return Section(
        "Against what was simulated",
        text=[TRUTH, simulated],
        tables=[("Planted drivers and what was found", format_truth(found, page.explained))],
    )


def _describe_method(page: Page) -> Section:
    settings = format_settings(
        attribution=page.params.model_dump(), forest=page.forest.model_dump()
    )
    return Section("How it was done", text=DEFINITIONS, tables=[("Settings", settings)])


def _describe_autoencoder(page: Page) -> list[str]:
    if page.tables.autoencoder_errors.empty:
        return []
    return [
        AUTOENCODER.format(
            dimensions=page.dimensions,
            s="s" * (page.dimensions != 1),
            best=choose_dimensions(page.tables.autoencoder_errors)[1],
            kept=int(page.tables.latents["kept"].sum()),
        )
    ]


def _show(page: Page, *names: str) -> list[tuple[str, Figure]]:
    return [(CAPTIONS[name], page.figures[name]) for name in names]
