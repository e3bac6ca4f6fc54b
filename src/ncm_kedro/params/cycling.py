"""Settings of `cycling`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ncm_kedro.params.base import FrozenParams


class CyclingParams(FrozenParams):
    """How cyclers' exports are read, which cycles are rejected, and what is shown."""

    positive_current: Literal["charge", "discharge"] = "charge"
    """What a current above 0 does to the cell, in files that name no state for each record. A file
    whose voltage contradicts it is rejected."""

    rest_current_ma: float = Field(default=1e-3, ge=0.0, le=100.0)
    """Largest current, in mA, that still counts as rest."""

    gap_max_s: float = Field(default=600.0, gt=0.0)
    """Longest time, in s, between two records of a half cycle; a cycle with a longer gap is
    rejected, since its current is unknown."""

    end_voltage_tolerance_v: float = Field(default=0.05, gt=0.0, le=5.0)
    """How far, in V, above the others' median the last discharge of a file may end; one that ends
    higher was cut short and is rejected."""

    reference_cycle: int = Field(default=1, ge=0)
    """Number of the cycle whose discharge capacity is 100 % retention."""

    efficiency_min_percent: float = Field(default=50.0, ge=0.0, lt=100.0)
    """Coulombic efficiency in % below which a cycle is rejected."""

    efficiency_max_percent: float = Field(default=105.0, gt=100.0, le=200.0)
    """Coulombic efficiency in % above which a cycle is rejected."""

    nominal_factor_max: float = Field(default=1.5, gt=1.0)
    """Largest discharge capacity as a multiple of the cell's nominal one; more is taken for an
    error of units and rejected."""

    curve_cycles: tuple[int, ...] = (1, 2, 10, 25, 50, 100)
    """Cycles whose voltage is stored against capacity, where there is a record over time."""

    curve_points: int = Field(default=200, ge=10, le=10_000)
    """Maximum number of records stored per half cycle; records are picked, never interpolated."""

    figure_by: Literal["composition", "class"] = "composition"
    """Which groups the figure compares."""


class SyntheticCyclingParams(FrozenParams):
    """Cells with a simulated fade, in the formats that users have."""

    compositions: tuple[str, ...] = ("333", "523", "622", "811")
    """Parts of nickel, cobalt and manganese; capacity and fade grow with nickel."""

    state: str = Field(default="cycled", pattern=r"^[a-z]+$")
    """Ageing state of the electrodes after the test, as in the SEM classes."""

    cells_per_composition: int = Field(default=3, ge=1, le=100)
    """Cells of each composition; Oh et al. (2024) tested three."""

    cycles: int = Field(default=100, ge=3, le=2000)
    """Cycles of each cell."""

    interval_s: float = Field(default=120.0, ge=1.0, le=600.0)
    """Time, in s, between two records of the first cell of each composition, which is written over
    time; the others are tables by cycle."""

    cell_spread_percent: float = Field(default=1.5, ge=0.0, le=20.0)
    """Standard deviation between cells of the first capacity, in % of it."""

    noise_percent: float = Field(default=0.1, ge=0.0, le=5.0)
    """Standard deviation of one cycle's capacity, in % of it."""

    special_cases: bool = True
    """Whether to plant bad rows, a missing cycle and a file that cannot be read."""

    seed: int = Field(default=20240115, ge=0)
    """Seed of the whole set."""

    @model_validator(mode="after")
    def check_compositions(self) -> Self:
        """Reject a set without compositions or with one named twice."""
        if not self.compositions or len(set(self.compositions)) < len(self.compositions):
            raise ValueError("compositions must be named, each once")
        return self
