"""Measuring particles, tabulating, comparing, exporting, reporting."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.tomograms.phantoms import TomogramTruth
from ncm_kedro.params.particle_features import (
    AttributeParams,
    ElectrodeParams,
    ParticleFigureParams,
)
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.plan import (
    MeasurementMaker,
    MeasurementPlan,
    Measurements,
    ParticleTables,
)
from ncm_kedro.tomo.review.edits import EditedLabels
from ncm_kedro.tomo.volumes.volume import Volumes


def measure_particles(
    *,
    tomograms: Volumes,
    table: pd.DataFrame,
    labels: Volumes,
    reviewed: Volumes,
    edits: dict[str, EditedLabels],
    attributes: AttributeParams,
    compute: TomoComputeParams,
) -> dict[str, MeasurementMaker]:
    """Plan the measurement of every sample, on labels corrected by hand where there are any."""
    from ncm_kedro.particles.plan import choose_labels, plan_measurement
    from ncm_kedro.tomo.volumes.volume import list_samples

    def plan(name: str) -> MeasurementPlan:
        chosen = choose_labels(labels.take(name), reviewed.get(name), edits.get(name))
        return plan_measurement(chosen, tomograms.take(name), attributes, compute)

    return {name: partial(plan, name) for name in list_samples(table)}


def tabulate_particles(
    measurements: Measurements, table: pd.DataFrame, attributes: AttributeParams
) -> tuple[ParticleTables, ParticleTables, ParticleTables, ParticleTables]:
    """Make the tables of every sample: attributes, details, contacts, crack profiles."""
    from ncm_kedro.errors import Rejections
    from ncm_kedro.particles.attributes import tabulate_attributes, tabulate_details
    from ncm_kedro.particles.columns import GREY_UNIT
    from ncm_kedro.particles.plan import select_current
    from ncm_kedro.particles.variants import add_uncertainty
    from ncm_kedro.tomo.volumes.identity import MADE_FROM

    current, stale = select_current(measurements, table)
    known = table.dropna(subset=[GREY_UNIT]) if GREY_UNIT in table else table[:0]
    units = dict(zip(known["sample"], known[GREY_UNIT], strict=True)) if len(known) else {}
    tables: tuple[dict[str, pd.DataFrame], ...] = ({}, {}, {}, {})
    rejections = Rejections()
    for name, measurement in current.items():
        with rejections.catch(name, f"sample {name}"):
            made = (
                add_uncertainty(tabulate_attributes(measurement, attributes), measurement.variants),
                tabulate_details(measurement, attributes),
                _name_sample(measurement.contacts, name),
                _name_sample(measurement.profiles, name),
            )
            for part, one in zip(tables, made, strict=True):
                one.attrs |= {MADE_FROM: dict(measurement.made_from), GREY_UNIT: units.get(name)}
                part[name] = one
    rejections.check_left(len(current))
    reasons = {**measurements.rejections, **stale, **rejections.reasons}
    first, second, third, fourth = (ParticleTables(part, reasons) for part in tables)
    return first, second, third, fourth


def compare_electrodes(
    attributes: ParticleTables, table: pd.DataFrame, figures: ParticleFigureParams
) -> pd.DataFrame:
    """Compare every attribute between the samples."""
    from ncm_kedro.particles.statistics import compare_samples

    return compare_samples(_select(attributes, table), table, figures)


def pair_particles_with_truth(
    attributes: ParticleTables, details: ParticleTables, truth: TomogramTruth, table: pd.DataFrame
) -> pd.DataFrame:
    """Set what was measured beside what was simulated, in the samples whose truth is known."""
    from ncm_kedro.errors import Rejections
    from ncm_kedro.particles.statistics import pair_with_truth

    edges = table.set_index("sample")[["voxel_z_um", "voxel_y_um", "voxel_x_um"]]
    pairs, rejections = [], Rejections()
    for name in _select(attributes, table):
        with rejections.catch(name, f"known particles of {name}"):
            particles = truth.read_particles(name)
            if particles is not None:
                pair = pair_with_truth(
                    attributes[name],
                    details[name],
                    particles,
                    same_labels=False,
                    voxel_size_um=tuple(edges.loc[name]),
                )
                pairs.append(pair.assign(sample=name))
    return pd.concat(pairs, ignore_index=True) if pairs else pd.DataFrame()


def export_electrodes(
    measurements: Measurements,
    attributes: ParticleTables,
    details: ParticleTables,
    table: pd.DataFrame,
    electrode: ElectrodeParams,
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """Give every sample to electrode models: PyBaMM's parameters, and tables."""
    from ncm_kedro.errors import Rejections
    from ncm_kedro.particles.electrode.electrode import describe_electrode
    from ncm_kedro.particles.electrode.export import tabulate_sizes, to_pybamm, to_table

    described, rejections = {}, Rejections()
    names = list(_select(attributes, table))
    for name in names:
        with rejections.catch(name, f"sample {name}"):
            described[name] = describe_electrode(
                measurements[name], attributes[name], details[name], electrode
            )
    rejections.check_left(len(names))
    parameters = {name: to_pybamm(geometry) for name, geometry in described.items()}
    return parameters, to_table(described), tabulate_sizes(described)


def report_particles(
    *,
    tomograms: Volumes,
    labels: Volumes,
    reviewed: Volumes,
    edits: dict[str, EditedLabels],
    attributes: ParticleTables,
    details: ParticleTables,
    table: pd.DataFrame,
    comparison: pd.DataFrame,
    pairs: pd.DataFrame,
    profiles: ParticleTables,
    quantities: pd.DataFrame,
    settings: AttributeParams,
    figures: ParticleFigureParams,
) -> tuple[dict[str, Figure], str]:
    """Draw the figures of all samples, and write the page that holds them."""
    from ncm_kedro.errors import Rejections
    from ncm_kedro.particles.plan import choose_labels
    from ncm_kedro.plotting.particles.report import draw_particles, render_particle_report
    from ncm_kedro.tomo.volumes.identity import MADE_FROM, check_belongs

    current = _select(attributes, table)
    used, rejections = {}, Rejections()
    for name, one in current.items():
        with rejections.catch(name, f"sample {name}"):
            chosen = choose_labels(labels.take(name), reviewed.get(name), edits.get(name))
            made_from = one.attrs.get(MADE_FROM)
            check_belongs(f"particle_attributes of {name}", made_from, labels=chosen)
            used[name] = chosen
    rejections.check_left(len(current))
    shown = ParticleTables(
        {name: current[name] for name in used}, {**current.rejections, **rejections.reasons}
    )
    drawn = draw_particles(
        attributes=shown,
        table=table,
        comparison=comparison,
        pairs=pairs,
        profiles=profiles,
        volumes={name: (tomograms[name], used[name]) for name in shown},
        params=figures,
    )
    page = render_particle_report(
        attributes=shown,
        details=details,
        table=table,
        comparison=comparison,
        quantities=quantities,
        figures=drawn,
        params=settings,
        confidence=figures.confidence,
    )
    return {f"{name}.png": figure for name, figure in drawn.items()}, page


def _select(tables: ParticleTables, table: pd.DataFrame) -> ParticleTables:
    """Take the samples of this run; folders may hold those of earlier ones, too."""
    from ncm_kedro.particles.plan import select_current

    current, stale = select_current(tables, table)
    return ParticleTables(current, {**tables.rejections, **stale})


def _name_sample(table: pd.DataFrame, sample: str) -> pd.DataFrame:
    named = table.copy()
    named.insert(0, "sample", pd.Series(sample, index=named.index, dtype="str"))
    return named
