"""One case, and a sweep over cases."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams
from ncm_kedro.params.half_cell.geometry import LayoutParams, MeshParams, SectionParams
from ncm_kedro.params.half_cell.physics import (
    CyclingLoadParams,
    InterfaceParams,
    MaterialParams,
    SteppingParams,
)


class HalfCellParams(FrozenParams):
    """One case of `half_cell`."""

    layout: LayoutParams = LayoutParams()
    """Circles, CB and separator; of a section from labels only separator and `random` is unused."""

    section: SectionParams | None = None
    """The window of labelled particles that takes the place of circles."""

    mesh: MeshParams = MeshParams()
    """Size and order of elements."""

    material: MaterialParams = MaterialParams()
    """Transport, kinetics, elasticity."""

    interface: InterfaceParams = InterfaceParams()
    """Contact and cohesion."""

    load: CyclingLoadParams = CyclingLoadParams()
    """Cycles."""

    stepping: SteppingParams = SteppingParams()
    """Time steps."""


class SweepParams(FrozenParams):
    """Random electrodes under changed settings, one setting at a time."""

    base: HalfCellParams = HalfCellParams(
        layout=LayoutParams(random_particles=3, width_um=40.0, height_um=14.0, split_x_um=20.0)
    )
    """What the electrodes have in common; `layout.random_particles` must be set."""

    electrodes: int = Field(default=8, ge=1, le=1000)
    """Random layouts for each value of a setting; the first has the seed of `base`."""

    values: dict[str, tuple[float, ...]] = Field(
        default={
            "material.molar_volume_m3_mol": (1e-6, 3e-6),
            "material.conductivity_low_s_m": (2e-2, 100.0),
            "layout.height_um": (36.0,),
            "load.c_rate": (1.0, 2.0),
        }
    )
    """Values by setting, as ``group.field`` of a case, that are run beside those of `base`."""

    workers: int = Field(default=1, ge=1, le=256)
    """Processes at a time."""

    @model_validator(mode="after")
    def check_random(self) -> Self:
        """Reject electrodes that would be copies of one, or rings."""
        if not self.base.layout.random_particles or self.base.section is not None:
            raise ValueError("base.layout.random_particles must be above 0, base.section unset")
        if self.base.material.symmetry == "axisymmetric":
            raise ValueError("base.material.symmetry must be one of a plane")
        return self
