"""From tables of measured particles to what may be explained, and by what.

Every exclusion is reported: every particle that is not used is counted, every attribute and
every sample that is not used is named with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ncm_kedro.damage.grouping import (
    EXACT_GROUPS,
    TARGET,
    assign_blocks,
    group_attributes,
    list_leaks,
)
from ncm_kedro.damage.selection import (
    COUNT_COLUMNS,
    EXPLAINING,
    Selection,
    count_particles,
    select_damage,
)
from ncm_kedro.errors import SettingsError
from ncm_kedro.params.damage_attribution import DamageTableParams
from ncm_kedro.particles.columns import (
    ATTRIBUTE_NAMES,
    ATTRIBUTES,
    POSITIONS,
    UNCERTAINTY,
    order_samples,
)
from ncm_kedro.particles.plan import ParticleTables

EXCLUDED_COLUMNS = ("attribute", "paper_name", "reason")


@dataclass(frozen=True)
class DamageData:
    """Particles whose damage is to be explained, and what may explain it.

    Attributes
    ----------
    rows
        A row per usable particle, samples in order of cycles: ``sample, particle_id``, ``block``
        (unique over samples), ``damage, z_um, y_um, x_um``, the attributes in `inputs` and
        `leaking`, and their ``<name>_uncertainty`` where every sample has it (0 where null). Only
        `leaking` may hold nulls.
    samples
        Those that are used, in order of cycles.
    inputs
        Attributes that may explain damage, in the order of Table S1.
    leaking
        Ineligible attributes: they contain the damage (target leakage).
    groups
        `inputs`, strongly correlated ones in one group.
    counts
        `COUNT_COLUMNS`: by sample all particles (``all``), those that are not used by reason, and
        ``used``; ``all`` is the sum of the others.
    excluded_attributes
        `EXCLUDED_COLUMNS`: attributes that do not explain, those in `leaking` included.
    rejections
        Reason by sample that is not used.
    notes
        What had to be taken otherwise than wished.
    comparable
        Whether differences between samples mean anything.
    preset
        What the attributes were measured with.
    """

    rows: pd.DataFrame
    samples: tuple[str, ...]
    inputs: tuple[str, ...]
    leaking: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    counts: pd.DataFrame
    excluded_attributes: pd.DataFrame
    rejections: dict[str, str]
    notes: tuple[str, ...]
    comparable: bool
    preset: str

    def list_defined(self) -> tuple[str, ...]:
        """List all attributes, damage and leaking ones too, that vary and every row has."""
        return tuple(
            name
            for name in ATTRIBUTE_NAMES
            if name in self.rows and self.rows[name].notna().all() and self.rows[name].nunique() > 1
        )


def prepare_damage(
    attributes: Mapping[str, pd.DataFrame],
    details: Mapping[str, pd.DataFrame],
    table: pd.DataFrame,
    params: DamageTableParams,
) -> DamageData:
    """Choose the particles, and the attributes that may explain their damage.

    Excluded are particles that touch the border, are incomplete by their shape, or have no
    damage; attributes that are mostly null or constant in any sample; then particles that lack one
    of the other attributes; then samples with too few particles.

    Parameters
    ----------
    table
        Tomogram table: ``sample, cycles, voxel_z_um, voxel_y_um, voxel_x_um, axis_to_collector``.
    params
        Which particles and attributes are eligible.

    Raises
    ------
    SettingsError
        If samples were measured with different presets, or `excluded_attributes` names no
        attribute.
    TableError
        If no sample or no attribute is left; it lists the reasons.
    """
    preset = _find_preset(attributes)
    _check_names(params.excluded_attributes)
    ordered = {sample: attributes[sample] for sample in order_samples(attributes, table)}
    chosen = select_damage(ordered, details, table, preset, params)
    leaking = _list_leaking(chosen, preset, params)
    rows = _stack_rows(chosen, (*chosen.inputs, *leaking), params.blocks)
    missed = attributes.rejections if isinstance(attributes, ParticleTables) else {}
    return DamageData(
        rows=rows,
        samples=tuple(chosen.used),
        inputs=chosen.inputs,
        leaking=leaking,
        groups=group_attributes(rows, chosen.inputs, params.group_correlation, EXACT_GROUPS),
        counts=count_particles(ordered, chosen),
        excluded_attributes=_list_excluded(chosen),
        rejections={**missed, **chosen.rejections},
        notes=chosen.scans.notes,
        comparable=chosen.scans.comparable,
        preset=preset,
    )


def describe_data(data: DamageData) -> dict[str, Any]:
    """Describe all but the rows in what JSON can hold; `restore_data` is the way back.

    Parameters
    ----------
    data
        What `prepare_damage` returned.
    """
    return {
        "samples": list(data.samples),
        "inputs": list(data.inputs),
        "leaking": list(data.leaking),
        "groups": [list(group) for group in data.groups],
        "counts": data.counts.to_dict("records"),
        "excluded_attributes": data.excluded_attributes.to_dict("records"),
        "rejections": dict(data.rejections),
        "notes": list(data.notes),
        "comparable": data.comparable,
        "preset": data.preset,
    }


def restore_data(rows: pd.DataFrame, described: Mapping[str, Any]) -> DamageData:
    """Combine rows and what `describe_data` returned of them again.

    Parameters
    ----------
    rows
        As in `DamageData`.
    described
        What `describe_data` returned, also after JSON.
    """
    return DamageData(
        rows=rows,
        samples=tuple(described["samples"]),
        inputs=tuple(described["inputs"]),
        leaking=tuple(described["leaking"]),
        groups=tuple(tuple(group) for group in described["groups"]),
        counts=pd.DataFrame(described["counts"], columns=list(COUNT_COLUMNS)),
        excluded_attributes=pd.DataFrame(
            described["excluded_attributes"], columns=list(EXCLUDED_COLUMNS)
        ),
        rejections=dict(described["rejections"]),
        notes=tuple(described["notes"]),
        comparable=bool(described["comparable"]),
        preset=str(described["preset"]),
    )


def _find_preset(attributes: Mapping[str, pd.DataFrame]) -> str:
    presets = {name: str(t.attrs.get("preset", "corrected")) for name, t in attributes.items()}
    if len(set(presets.values())) > 1:
        raise SettingsError(
            "particle_attributes",
            found=", ".join(f"{name} measured with preset {presets[name]}" for name in presets),
            expected="one preset for all samples",
            action="run `kedro run --pipelines particle_features` again for all samples",
        )
    preset = next(iter(presets.values()), "corrected")
    list_leaks(preset)
    return preset


def _check_names(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in EXPLAINING]
    if unknown:
        raise SettingsError(
            "excluded_attributes",
            found=", ".join(unknown),
            expected=f"among {', '.join(EXPLAINING)}",
            action="mend `excluded_attributes` in the parameters of damage_attribution",
        )


def _list_leaking(chosen: Selection, preset: str, params: DamageTableParams) -> tuple[str, ...]:
    """List leaky attributes that have enough values and are not excluded otherwise."""
    if params.attributes == "all":
        return ()
    refused = {*chosen.uninformative, *params.excluded_attributes}
    return tuple(name for name in list_leaks(preset) if name not in refused)


def _list_excluded(chosen: Selection) -> pd.DataFrame:
    reasons = chosen.uninformative | chosen.ineligible
    found = [(a.name, a.paper_name, reasons[a.name]) for a in ATTRIBUTES if a.name in reasons]
    return pd.DataFrame(found, columns=list(EXCLUDED_COLUMNS))


def _stack_rows(chosen: Selection, kept: Sequence[str], blocks: int) -> pd.DataFrame:
    """Put the samples' rows under each other and cut each sample into blocks."""
    names = [name for name in ATTRIBUTE_NAMES if name in kept and name not in POSITIONS]
    moved = [
        f"{name}{UNCERTAINTY}"
        for name in ATTRIBUTE_NAMES
        if name in (TARGET, *kept)
        and all(_has_values(part, f"{name}{UNCERTAINTY}") for part in chosen.used.values())
    ]
    parts, first = [], 0
    for sample, part in chosen.used.items():
        lateral = [f"{axis}_um" for axis in chosen.scans.list_lateral(sample)]
        block = first + assign_blocks(part[lateral].to_numpy(dtype=np.float64), blocks)
        first = int(block.max()) + 1
        identity = part[["sample", "particle_id"]].assign(block=block)
        values = part[[TARGET, *POSITIONS, *names]].astype(np.float64)
        uncertainty = part[moved].astype(np.float64).fillna(0.0)
        parts.append(pd.concat([identity, values, uncertainty], axis=1))
    rows = pd.concat(parts, ignore_index=True)
    rows.attrs = {}
    return rows


def _has_values(part: pd.DataFrame, column: str) -> bool:
    return column in part and bool(part[column].notna().any())
