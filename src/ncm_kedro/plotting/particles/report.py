"""The report page of the particles, and the figures on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.params.particle_features import AttributeParams, ParticleFigureParams
from ncm_kedro.particles.statistics.compare import (
    REPLICATE_CAVEAT,
    order_samples,
    weigh_uncertainty,
)
from ncm_kedro.plotting.particles.caveats import (
    BORDER_NOTE,
    CAPTIONS,
    DEFINITIONS,
    PROFILES,
    SHEET_CAPTION,
    STATISTICS,
    UNCERTAINTY,
    list_pair_caveats,
    list_sample_caveats,
    list_setting_caveats,
    list_uncertain,
)
from ncm_kedro.plotting.particles.distributions import (
    plot_crack_profiles,
    plot_distributions,
    plot_stages,
)
from ncm_kedro.plotting.particles.pairs import plot_pairs, plot_truth_scatter
from ncm_kedro.plotting.particles.sheet import choose_particles, cut_particles, plot_contact_sheet
from ncm_kedro.plotting.particles.tables import (
    format_comparison,
    format_uncertainty,
    say,
    tabulate_sample,
)
from ncm_kedro.plotting.report import Section, render_report
from ncm_kedro.tomo.volumes.volume import Volume

SHEET_PREFIX = "sheet_"

_SHOWN_PAIRS = 4


def draw_particles(
    *,
    attributes: Mapping[str, pd.DataFrame],
    table: pd.DataFrame,
    comparison: pd.DataFrame,
    pairs: pd.DataFrame,
    profiles: Mapping[str, pd.DataFrame],
    volumes: Mapping[str, tuple[Volume | None, Volume]],
    params: ParticleFigureParams,
) -> dict[str, Figure]:
    """Draw the figures of all samples.

    Parameters
    ----------
    attributes
        Attribute table by sample.
    table
        Tomogram table; it gives the order.
    comparison
        What `ncm_kedro.particles.statistics.compare.compare_samples` returned.
    pairs
        Measured and known values of particles; may be empty.
    profiles
        Crack profiles by sample; samples may be missing, tables may be empty.
    volumes
        Grey volume, where there is one, and labels by sample.
    params
        What to show.

    Returns
    -------
    dict
        ``distributions``, ``stages``, ``pairs``, ``profiles`` where cracks were counted by depth,
        ``truth`` where something is known, and ``sheet_<sample>`` of each sample with volumes;
        nothing where there is no particle.
    """
    ordered = {name: attributes[name] for name in order_samples(attributes, table)}
    if not sum(len(rows) for rows in ordered.values()):
        return {}
    figures = {
        "distributions": plot_distributions(ordered),
        "stages": plot_stages(ordered, comparison),
        "pairs": plot_pairs(ordered, params.pair_attributes),
    }
    if any(len(profiles[name]) for name in ordered if name in profiles):
        figures["profiles"] = plot_crack_profiles(profiles, ordered)
    if len(pairs):
        figures["truth"] = plot_truth_scatter(pairs)
    for name, attribute_table in ordered.items():
        if name not in volumes or attribute_table.empty:
            continue
        image, labels = volumes[name]
        most, least = (
            cut_particles(rows, labels, image)
            for rows in choose_particles(attribute_table, params.shown_particles)
        )
        figures[f"{SHEET_PREFIX}{name}"] = plot_contact_sheet(most, least, title=name)
    return figures


def render_particle_report(
    *,
    attributes: Mapping[str, pd.DataFrame],
    details: Mapping[str, pd.DataFrame],
    table: pd.DataFrame,
    comparison: pd.DataFrame,
    quantities: pd.DataFrame,
    figures: Mapping[str, Figure],
    params: AttributeParams,
    confidence: float,
    rejections: Mapping[str, str] | None = None,
) -> str:
    """Render what was measured of the particles as one self-contained HTML page.

    Parameters
    ----------
    attributes, details
        Tables by sample.
    table
        Tomogram table.
    comparison
        What `ncm_kedro.particles.statistics.compare.compare_samples` returned.
    quantities
        What was measured of each electrode: ``sample, quantity, value, unit, basis``.
    figures
        What `draw_particles` returned.
    params
        How it was measured.
    confidence
        Level of the intervals in ``comparison``, in [0, 1].
    rejections
        Reason by sample that could not be measured; by default the ``rejections`` that
        ``attributes`` carries.
    """
    ordered = order_samples(attributes, table)
    measured = {name: attributes[name] for name in ordered}
    total = sum(len(rows) for rows in measured.values())
    whole = sum(_count_whole(rows) for rows in measured.values())
    caveats = [*list_pair_caveats(ordered, table), *list_setting_caveats(measured)]
    missing = dict(getattr(attributes, "rejections", {}) if rejections is None else rejections)
    summary = (
        f"{len(ordered)} sample{'s' * (len(ordered) != 1)} with {total} measured "
        f"particle{'s' * (total != 1)}, {whole} of them whole; preset {params.preset}; "
        f"{len(missing)} sample{'s' * (len(missing) != 1)} set aside."
    )
    sections = [
        _describe_samples(attributes, details, table, missing, ordered),
        _describe_comparison(comparison, caveats, ordered, figures, confidence),
        _describe_uncertainty(measured),
        _show("Where in the particles the cracks are", "profiles", figures, PROFILES),
        *([_describe_truth(figures["truth"])] if "truth" in figures else []),
        _show("Attributes against each other", "pairs", figures),
        _describe_sheets(figures),
        *([_describe_electrode(quantities)] if len(quantities) else []),
        _describe_method(params),
    ]
    return render_report("What the particles are like", summary, [s for s in sections if s])


def _count_whole(attributes: pd.DataFrame) -> int:
    return int((~attributes["touches_border"].to_numpy(dtype=bool)).sum())


def _describe_samples(
    attributes: Mapping[str, pd.DataFrame],
    details: Mapping[str, pd.DataFrame],
    table: pd.DataFrame,
    missing: Mapping[str, str],
    ordered: list[str],
) -> Section:
    facts = {
        str(row["sample"]): {str(key): value for key, value in row.items()}
        for row in table.to_dict("records")
    }
    rows = [
        tabulate_sample(name, attributes[name], details[name], facts.get(name, {}))
        for name in ordered
    ]
    tables = [("Samples; medians and means are of whole particles", pd.DataFrame(rows))]
    if missing:
        aside = pd.DataFrame({"sample": list(missing), "reason": list(missing.values())})
        tables.append(("Samples that were set aside, and why", aside))
    warnings = [
        f"{name}: {caveat}"
        for name in ordered
        for caveat in list_sample_caveats(attributes[name], details[name], facts.get(name, {}))
    ]
    if not ordered:
        warnings.append("No sample was measured: there is nothing to show.")
    return Section(
        "What was measured",
        warnings=warnings,
        tables=[(caption, rows) for caption, rows in tables if not rows.empty],
    )


def _describe_comparison(
    comparison: pd.DataFrame,
    caveats: Sequence[str],
    ordered: list[str],
    figures: Mapping[str, Figure],
    confidence: float,
) -> Section:
    shown = [(name, figures[name]) for name in ("stages", "distributions") if name in figures]
    pictures = [(CAPTIONS[name], figure) for name, figure in shown]
    if len(ordered) < 2:
        alone = (
            "There is one sample: nothing to compare it with." if ordered else "There is no sample."
        )
        return Section("Distributions", text=[alone, BORDER_NOTE], figures=pictures)
    pairs = list(comparison.groupby(["sample_a", "sample_b"], sort=False))
    text = [
        BORDER_NOTE,
        STATISTICS.format(confidence=100 * confidence),
    ]
    if len(pairs) > _SHOWN_PAIRS:
        text.append(
            f"{len(pairs)} pairs were compared; the first {_SHOWN_PAIRS} are shown, all are in "
            "the table of comparisons."
        )
    return Section(
        "Between the samples",
        warnings=[REPLICATE_CAVEAT, *caveats],
        text=text,
        tables=[
            (f"{first} (a) and {second} (b)", format_comparison(rows))
            for (first, second), rows in pairs[:_SHOWN_PAIRS]
        ],
        figures=pictures,
    )


def _describe_uncertainty(attributes: Mapping[str, pd.DataFrame]) -> Section | None:
    weighed = {name: weigh_uncertainty(rows) for name, rows in attributes.items()}
    known = {name: rows for name, rows in weighed.items() if rows["n"].any()}
    if not known:
        return None
    return Section(
        "How far the segmentation could move it",
        warnings=[line for name, rows in known.items() for line in list_uncertain(name, rows)],
        text=[UNCERTAINTY],
        tables=[
            (f"{name}, whole particles", format_uncertainty(attributes[name], rows))
            for name, rows in known.items()
        ],
    )


def _describe_truth(figure: Figure) -> Section:
    return Section(
        "Measured against what is known",
        text=[
            "These samples come with known particles. Particles of the labels that were measured "
            "and known ones are paired where each is the other's nearest and their centres are no "
            "further apart than half a diameter: errors of the segmentation count, particles that "
            "it missed do not."
        ],
        figures=[(CAPTIONS["truth"], figure)],
    )


def _show(heading: str, name: str, figures: Mapping[str, Figure], *text: str) -> Section | None:
    if name not in figures:
        return None
    return Section(heading, text=text, figures=[(CAPTIONS[name], figures[name])])


def _describe_sheets(figures: Mapping[str, Figure]) -> Section | None:
    sheets = {name: figure for name, figure in figures.items() if name.startswith(SHEET_PREFIX)}
    if not sheets:
        return None
    return Section(
        "The most and the least damaged particles",
        text=["Look at these before you believe a damage: outlines and marked cracks decide it."],
        figures=[
            (SHEET_CAPTION.format(sample=name.removeprefix(SHEET_PREFIX)), figure)
            for name, figure in sheets.items()
        ],
    )


def _describe_electrode(quantities: pd.DataFrame) -> Section:
    return Section(
        "For electrode models",
        text=["What the measured layer gives to a model of the electrode, and on what basis."],
        tables=[
            (
                "Quantities by sample; what is not known has no value",
                quantities.assign(value=quantities["value"].map(say)),
            )
        ],
    )


def _describe_method(params: AttributeParams) -> Section:
    settings = pd.DataFrame(
        [{"setting": name, "value": say(value)} for name, value in params.model_dump().items()]
    )
    return Section(
        "How it was measured",
        text=DEFINITIONS[params.preset],
        tables=[(f"Settings, preset {params.preset}", settings)],
    )
