"""Choosing particles, explaining their damage, the paper's analysis, reporting, releasing."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.models.versions import Release
from ncm_kedro.datasets.tomograms.phantoms import TomogramTruth
from ncm_kedro.params.damage_attribution import (
    AttributionParams,
    AutoencoderParams,
    DamageCorrelationParams,
    DamageForestParams,
    DamageTableParams,
    LinkParams,
    PaperForestParams,
)
from ncm_kedro.particles.plan import ParticleTables

Metrics = dict[str, Any]
Described = dict[str, Any]


def prepare_damage_table(
    attributes: ParticleTables,
    details: ParticleTables,
    table: pd.DataFrame,
    params: DamageTableParams,
) -> tuple[pd.DataFrame, Described]:
    """Choose particles, attributes and groups; report what was excluded and why."""
    from ncm_kedro.damage.preparation import describe_data, prepare_damage

    chosen = prepare_damage(_select(attributes, table), _select(details, table), table, params)
    return chosen.rows, describe_data(chosen)


def attribute_particle_damage(
    rows: pd.DataFrame,
    described: Described,
    forest: DamageForestParams,
    params: AttributionParams,
) -> dict[str, pd.DataFrame | Metrics]:
    """Explain damage out of sample, with intervals and p-values; rank leaky attributes beside."""
    from ncm_kedro.damage.attribution import attribute_damage
    from ncm_kedro.damage.preparation import restore_data

    found = attribute_damage(restore_data(rows, described), forest, params)
    metrics = {
        f"{row['sample']}.{row['model']}.{name}": {"value": float(row[name]), "step": 0}
        for row in found.scores.to_dict("records")
        for name in ("r2", "mae")
    }
    tables = ("importance", "attributes", "scores", "differences", "ranks", "shap", "leaks")
    return {**{name: getattr(found, name) for name in tables}, "metrics": metrics}


def measure_damage_synchrony(
    *,
    rows: pd.DataFrame,
    described: Described,
    contacts: ParticleTables,
    table: pd.DataFrame,
    shap: pd.DataFrame,
    params: AttributionParams,
) -> pd.DataFrame:
    """Measure the spatial autocorrelation of damage and of the forest's residuals."""
    from ncm_kedro.damage.preparation import restore_data
    from ncm_kedro.damage.synchrony import measure_synchrony

    data = restore_data(rows, described)
    residuals = (shap["damage"] - shap["prediction"]).to_numpy(dtype=float)
    return measure_synchrony(
        data.rows, _select(contacts, table), residuals, params, comparable=data.comparable
    )


def encode_damage_attributes(
    rows: pd.DataFrame, described: Described, autoencoder: AutoencoderParams, links: LinkParams
) -> dict[str, pd.DataFrame | Described]:
    """Fit the regularised auto-encoder; correlate its latent dimensions and decoded attributes."""
    from ncm_kedro.damage.latent.autoencoder import fit_autoencoder
    from ncm_kedro.damage.latent.dimension_search import search_dimensions
    from ncm_kedro.damage.latent.links import (
        decode_attributes,
        encode_latents,
        list_links,
        rank_decoded,
        rank_latents,
    )
    from ncm_kedro.damage.preparation import restore_data

    data = restore_data(rows, described)
    names = data.list_defined()
    search = search_dimensions(data.rows, names, autoencoder)
    fitted = fit_autoencoder(data.rows, names, search.chosen, autoencoder)
    ranking = rank_latents(fitted, data.rows, links)
    latents = encode_latents(fitted, data.rows)
    back = decode_attributes(fitted, data.rows, ranking)
    decoded = rank_decoded(data.rows, back, names)
    top = list(decoded["attribute"].head(links.top_attributes))
    told = {
        "chosen_dimensions": search.chosen,
        "least_error_dimensions": search.best,
        "attributes": list(names),
        "weights": {name: array.tolist() for name, array in fitted.to_arrays().items()},
    }
    return {
        "autoencoder_errors": search.errors,
        "autoencoder": told,
        "latents": ranking,
        "latent_values": latents,
        "latent_links": list_links(latents, fitted.latent_names, links),
        "decoded": decoded,
        "attribute_links": list_links(back, top, links, raw=data.rows),
    }


def correlate_attributes(
    rows: pd.DataFrame, described: Described, params: DamageCorrelationParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Correlate every attribute with damage, and compare the samples."""
    from ncm_kedro.damage.latent.correlation import correlate_damage
    from ncm_kedro.damage.preparation import restore_data

    data = restore_data(rows, described)
    names = [name for name in data.list_defined() if name != "damage"]
    found = correlate_damage(data.rows, names, params)
    differences = found.differences if data.comparable else found.differences.iloc[:0]
    return found.by_sample, differences


def repeat_paper_analysis(
    rows: pd.DataFrame, described: Described, params: PaperForestParams
) -> pd.DataFrame:
    """Grow and explain the paper's forest, X and Y excluded as in the published code."""
    from ncm_kedro.damage.paper import repeat_paper_forest
    from ncm_kedro.damage.preparation import restore_data

    names = restore_data(rows, described).list_defined()
    inputs = [name for name in names if name not in ("damage", "x_um", "y_um")]
    return repeat_paper_forest(rows, inputs, params)


def evaluate_damage_truth(
    importance: pd.DataFrame, attributes: pd.DataFrame, truth: TomogramTruth
) -> pd.DataFrame:
    """Set what was found beside what was simulated, in the samples whose truth is known."""
    from ncm_kedro.damage.attribution import evaluate_simulated

    known = {name: truth.read_particles(name) for name in importance["sample"].unique()}
    found = {name: particles for name, particles in known.items() if particles is not None}
    simulated = {name: rows for name, rows in found.items() if "simulated_damage" in rows}
    return evaluate_simulated(importance, attributes, simulated)


def report_damage(
    *,
    rows: pd.DataFrame,
    described: Described,
    params: AttributionParams,
    forest: DamageForestParams,
    autoencoder: Described,
    **tables: pd.DataFrame,
) -> tuple[dict[str, Figure], str]:
    """Draw all figures, and write the page that holds them."""
    from ncm_kedro.damage.preparation import restore_data
    from ncm_kedro.plotting.damage.figures import draw_damage
    from ncm_kedro.plotting.damage.report import render_damage_report
    from ncm_kedro.plotting.damage.tables import DamageTables

    data, found = restore_data(rows, described), DamageTables(**tables)
    dimensions = autoencoder["chosen_dimensions"]
    figures = draw_damage(data, found, dimensions)
    page = render_damage_report(
        data, found, figures, params=params, forest=forest, dimensions=dimensions
    )
    return {f"{name}.png": figure for name, figure in figures.items()}, page


def release_damage_attribution(
    rows: pd.DataFrame,
    described: Described,
    scores: pd.DataFrame,
    forest: DamageForestParams,
    params: AttributionParams,
) -> Release[Any]:
    """Fit the forests on all particles and hand them to the registry with their scores."""
    from ncm_kedro.damage.model import fit_model
    from ncm_kedro.damage.preparation import restore_data
    from ncm_kedro.learning.evaluation.promotion import Promotion
    from ncm_kedro.plotting.numbers import write_interval

    data = restore_data(rows, described)
    own = scores[scores["model"] == "forest"].set_index("sample")
    silent = [str(sample) for sample in own.index[~own["explains"]]]
    reason = (
        f"explains nothing of {', '.join(silent)}"
        if silent
        else "explains the damage of every sample out of sample"
    )
    return Release(
        model=fit_model(data, scores, forest, params),
        promotion=Promotion(not silent, (reason,)),
        metrics={f"r2_{sample}": float(value) for sample, value in own["r2"].items()},
        tags={"preset": data.preset, "particles": str(len(data.rows)),
              "samples": ", ".join(data.samples), "excluded_attributes": ", ".join(data.leaking)},
        example=data.rows[list(data.inputs)].head(3).reset_index(drop=True),
        trained_on=f"{len(data.rows)} complete particles of {', '.join(data.samples)}",
        scores=tuple(f"R² of held-out particles of {row['sample']}: {write_interval(row, 'r2')}"
                     for row in own.reset_index().to_dict("records")),
    )  # fmt: skip


def _select(tables: ParticleTables, table: pd.DataFrame) -> ParticleTables:
    """Take the samples of this run; folders may hold those of earlier ones, too."""
    from ncm_kedro.particles.plan import select_current

    current, stale = select_current(tables, table)
    return ParticleTables(current, {**tables.rejections, **stale})
