"""How samples lie in their volumes, and whether they were scanned alike.

Which particles and which attributes are used, and why the others are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import pandas as pd

from ncm_kedro.damage.grouping import LEAKS, TARGET
from ncm_kedro.errors import TableError
from ncm_kedro.params.damage_attribution import DamageTableParams
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, POSITIONS
from ncm_kedro.particles.electrode.layer import read_axis

AXES = ("z", "y", "x")

_SAME_VOXEL = 0.01


@dataclass(frozen=True)
class Scans:
    """Metadata of the samples from the tomogram table.

    Attributes
    ----------
    axes
        By sample the axis to the collector, without its sign.
    turned
        Samples whose position along it is taken as the distance from the collector, because it
        runs the other way in some.
    notes
        What had to be assumed, or differs.
    comparable
        Whether there are several samples, of one voxel size.
    """

    axes: dict[str, str]
    turned: frozenset[str]
    notes: tuple[str, ...]
    comparable: bool

    @property
    def axis(self) -> str | None:
        """The axis to the collector; None where samples differ in it."""
        found = set(self.axes.values())
        return found.pop() if len(found) == 1 else None

    def list_lateral(self, sample: str) -> tuple[str, ...]:
        """List the two axes across the electrode of a sample."""
        return tuple(axis for axis in AXES if axis != self.axes[sample])

    def place(
        self, sample: str, particles: pd.DataFrame, details: Mapping[str, pd.DataFrame]
    ) -> pd.DataFrame:
        """Return a sample's particles with their position along the axis the way all have it.

        Parameters
        ----------
        particles
            ``particle_id, z_um, y_um, x_um`` and others.
        details
            By sample ``particle_id, depth_um``.

        Raises
        ------
        TableError
            If details are needed that are not there.
        """
        if sample not in self.turned:
            return particles
        if sample not in details:
            raise TableError(
                "particle_details",
                found=f"no table of sample {sample}",
                expected="a table for each sample of particle_attributes",
                action="run `kedro run --pipelines particle_features` again",
            )
        depth_um = details[sample].set_index("particle_id")["depth_um"]
        return particles.assign(
            **{f"{self.axes[sample]}_um": particles["particle_id"].map(depth_um)}
        )


def read_scans(samples: Sequence[str], table: pd.DataFrame) -> Scans:
    """Read how samples lie and were scanned.

    Parameters
    ----------
    table
        Tomogram table: ``sample, cycles, voxel_z_um, voxel_y_um, voxel_x_um, axis_to_collector``.

    Raises
    ------
    TomogramError
        If the axis to the collector cannot be read.
    """
    known = table.set_index("sample").reindex(list(samples))
    axes, turned, notes = _read_axes(known["axis_to_collector"])
    voxels = _compare_voxels(known)
    if len(samples) == 1:
        notes.append(f"{samples[0]} is the only sample: there is nothing to compare it with")
    elif unknown := known.index[known["cycles"].isna()].tolist():
        notes.append(f"cycles of {', '.join(unknown)} are not known: last in the order, by name")
    return Scans(axes, turned, (*notes, *voxels), comparable=len(samples) > 1 and not voxels)


def _read_axes(told: pd.Series) -> tuple[dict[str, str], frozenset[str], list[str]]:
    """Return the axes by sample, the samples to turn, and notes on it."""
    signed = {str(sample): str(axis) for sample, axis in told.dropna().items()}
    letters = {sample: AXES[read_axis(axis) or 0] for sample, axis in signed.items()}
    usual = next(iter(letters.values()), "z")
    axes = {str(sample): letters.get(str(sample), usual) for sample in told.index}
    notes = []
    if unknown := [sample for sample in axes if sample not in letters]:
        notes.append(
            f"axis_to_collector of {', '.join(unknown)} is not known: {usual} is taken for it"
        )
    if len(set(axes.values())) > 1:
        listed = ", ".join(f"{sample}: {axis}" for sample, axis in axes.items())
        notes.append(f"axis_to_collector differs ({listed}): positions cannot explain")
        return axes, frozenset(), notes
    if len({axis.startswith("-") for axis in signed.values()}) < 2:
        return axes, frozenset(), notes
    notes.append(
        f"{usual} runs towards the collector in some samples and away from it in others: "
        f"{usual}_um is the distance from the collector in {', '.join(signed)}"
    )
    return axes, frozenset(signed), notes


def _compare_voxels(known: pd.DataFrame) -> list[str]:
    """Report whether voxel sizes differ or are not known."""
    sizes = known[[f"voxel_{axis}_um" for axis in AXES]].astype(np.float64)
    fate = "samples are explained each for itself, not compared"
    if unknown := sizes.index[sizes.isna().any(axis=1)].tolist():
        return [f"voxel sizes of {', '.join(unknown)} are not known: {fate}"]
    if ((sizes.max() / sizes.min() - 1) <= _SAME_VOXEL).all():
        return []
    listed = "; ".join(
        f"{sample}: {' x '.join(f'{edge:.4g}' for edge in row)} um"
        for sample, row in zip(sizes.index, sizes.to_numpy(), strict=True)
    )
    return [f"voxel sizes differ ({listed}): {fate}"]


EXPLAINING = tuple(name for name in ATTRIBUTE_NAMES if name != TARGET)
"""What could explain damage, in the order of Table S1."""

COUNT_COLUMNS = ("sample", "reason", "particles")

_LATERAL = "a position across the electrode: it says where the volume was cut out"
_TURNED = "the axis to the collector is not the same in all samples"
_BY_HAND = "left out by the settings"
_ROUNDNESS = "sphericity"


@dataclass(frozen=True)
class Selection:
    """What is used.

    Attributes
    ----------
    whole
        By sample the complete particles that are round enough and have a damage.
    used
        Those of them that have a value of every attribute in `inputs`.
    inputs
        Attributes that may explain, in the order of Table S1.
    ineligible
        Reason by attribute that may not explain, whatever its values.
    uninformative
        Reason by attribute whose values are missing or all the same.
    rejections
        Reason by sample that is not used.
    scans
        How the samples lie.
    least_sphericity
        What a particle has at least; 0 where this does not count.
    """

    whole: dict[str, pd.DataFrame]
    used: dict[str, pd.DataFrame]
    inputs: tuple[str, ...]
    ineligible: dict[str, str]
    uninformative: dict[str, str]
    rejections: dict[str, str]
    scans: Scans
    least_sphericity: float


def select_damage(
    attributes: Mapping[str, pd.DataFrame],
    details: Mapping[str, pd.DataFrame],
    table: pd.DataFrame,
    preset: str,
    params: DamageTableParams,
) -> Selection:
    """Select particles and attributes; rejected samples do not affect the choice of attributes.

    Parameters
    ----------
    attributes
        Attribute tables by sample, in order of cycles.
    details
        By sample ``particle_id, depth_um``.
    preset
        What the attributes were measured with.
    params
        Which particles and attributes are eligible.

    Raises
    ------
    TableError
        If no sample or no attribute is left; it lists the reasons.
    """
    least = _find_least_sphericity(preset, params)
    candidates = {sample: _take_usable(part, least) for sample, part in attributes.items()}
    aside = _reject_samples(candidates, params)
    while samples := [sample for sample in attributes if sample not in aside]:
        scans = read_scans(samples, table)
        whole = {sample: scans.place(sample, candidates[sample], details) for sample in samples}
        ineligible = _list_ineligible(preset, scans, params)
        uninformative = _evaluate_columns(whole, ineligible, params)
        inputs = tuple(name for name in EXPLAINING if name not in ineligible | uninformative)
        if not inputs:
            raise _miss(
                "attribute that may explain", uninformative | ineligible, "raise `max_undefined`"
            )
        used = {sample: part.dropna(subset=list(inputs)) for sample, part in whole.items()}
        refused = _reject_samples(used, params)
        if not refused:
            return Selection(whole, used, inputs, ineligible, uninformative, aside, scans, least)
        aside |= refused
    raise _miss("usable sample", aside, "mend what is named, or lower `min_particles`")


def count_particles(attributes: Mapping[str, pd.DataFrame], chosen: Selection) -> pd.DataFrame:
    """Count the particles of every sample by what became of them.

    Parameters
    ----------
    attributes
        Attribute tables by sample, in order of cycles.
    chosen
        What `select_damage` returned.

    Returns
    -------
    DataFrame
        `COUNT_COLUMNS`; in each sample ``all`` is the sum of the others, ``used`` the last.
    """
    counts = []
    for sample, everything in attributes.items():
        inside = everything[~everything["touches_border"].to_numpy(dtype=bool)]
        usable = len(_take_usable(everything, chosen.least_sphericity))
        odd = int((inside[_ROUNDNESS] < chosen.least_sphericity).sum())
        found = {"all": len(everything), "touches the border": len(everything) - len(inside)}
        if chosen.least_sphericity > 0:
            found[f"{_ROUNDNESS} below {chosen.least_sphericity:g}: no whole particle"] = odd
        found[f"no value of {TARGET}"] = len(inside) - odd - usable
        if sample in chosen.used:
            missing = chosen.whole[sample][list(chosen.inputs)].isna()
            lacking = Counter(
                ", ".join(compress(chosen.inputs, row))
                for row in missing[missing.any(axis=1)].to_numpy()
            )
            found |= {f"no value of {names}": number for names, number in lacking.most_common()}
        else:
            found["sample set aside"] = usable
        found["used"] = len(chosen.used.get(sample, ()))
        counts += [(sample, reason, number) for reason, number in found.items()]
    return pd.DataFrame(counts, columns=list(COUNT_COLUMNS))


def _find_least_sphericity(preset: str, params: DamageTableParams) -> float:
    """Return the least sphericity; none where sphericity itself follows from damage."""
    return 0.0 if _ROUNDNESS in LEAKS[preset] else params.min_sphericity


def _take_usable(table: pd.DataFrame, least_sphericity: float) -> pd.DataFrame:
    whole = ~table["touches_border"].to_numpy(dtype=bool) & table[TARGET].notna().to_numpy()
    return table[whole & ~(table[_ROUNDNESS] < least_sphericity).to_numpy()]


def _reject_samples(parts: Mapping[str, pd.DataFrame], params: DamageTableParams) -> dict[str, str]:
    """Give the reason by sample that is too small, or whose damage is all the same."""
    refused = {}
    for sample, part in parts.items():
        count = len(part)
        if count < params.min_particles:
            refused[sample] = (
                f"{count} particles can be used, at least {params.min_particles} are needed"
            )
        elif part[TARGET].nunique() == 1:
            refused[sample] = (
                f"the damage of all {count} particles that can be used is "
                f"{part[TARGET].iloc[0]:g}: there is nothing to explain"
            )
    return refused


def _list_ineligible(preset: str, scans: Scans, params: DamageTableParams) -> dict[str, str]:
    leaks = LEAKS[preset] if params.attributes == "leakage_free" else {}
    ineligible = {name: f"holds the damage: {reason}" for name, reason in leaks.items()}
    if scans.axis is None:
        ineligible |= dict.fromkeys(POSITIONS, _TURNED)
    elif not params.lateral_positions:
        ineligible |= {name: _LATERAL for name in POSITIONS if name != f"{scans.axis}_um"}
    return ineligible | dict.fromkeys(params.excluded_attributes, _BY_HAND)


def _evaluate_columns(
    whole: Mapping[str, pd.DataFrame], ineligible: Mapping[str, str], params: DamageTableParams
) -> dict[str, str]:
    """Give the reason by attribute with too few values, or one value alone, in any sample."""
    uninformative: dict[str, str] = {}
    for sample, part in whole.items():
        for name in EXPLAINING:
            share = part[name].isna().mean()
            if share == 1:
                uninformative.setdefault(name, f"has no value in {sample}")
            elif share > params.max_undefined:
                uninformative.setdefault(
                    name, f"has no value for {share:.0%} of the whole particles of {sample}"
                )
            elif part[name].nunique() == 1:
                uninformative.setdefault(name, f"is the same for all particles of {sample}")
    kept = [name for name in EXPLAINING if name not in uninformative and name not in ineligible]
    for sample, part in whole.items():
        used = part.dropna(subset=kept)
        if len(used) >= params.min_particles:
            constant = [name for name in kept if used[name].nunique() == 1]
            uninformative |= dict.fromkeys(
                constant, f"is the same for all used particles of {sample}"
            )
    return uninformative


def _miss(what: str, reasons: Mapping[str, str], action: str) -> TableError:
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    return TableError(
        "particle_attributes",
        found=f"no {what} ({listed})" if listed else f"no {what}: no table at all",
        expected="at least one",
        action=action,
    )
