"""How samples lie in their volumes, and whether they were scanned alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ncm_kedro.errors import TableError
from ncm_kedro.particles.electrode_layer import read_axis

AXES = ("z", "y", "x")

_SAME_VOXEL = 0.01


@dataclass(frozen=True)
class Scans:
    """What the tomogram table says of the samples.

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
        sample
            The sample.
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
    samples
        In order of cycles.
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
    """Return the axes by sample, the samples to turn, and what there is to say of it."""
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
    """Say whether voxel sizes differ or are not known."""
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
