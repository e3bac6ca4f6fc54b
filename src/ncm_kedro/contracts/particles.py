"""Contracts of the tables of measured particles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Optional

import numpy as np
import pandas as pd
import pandera.errors
import pandera.pandas as pa
from pandera.typing import DataFrame, Series

from ncm_kedro.errors import TableError
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, IDENTITY_COLUMNS

PRESETS = ("corrected", "paper")
ANGLES = ("yaw_deg", "pitch_deg", "roll_deg")
WHOLE_ONLY = (
    *ANGLES, "elongation", "sphericity", "vs_ratio", "roughness_inner", "roughness_outer",
)  # fmt: skip
"""Attributes undefined for border-truncated particles (preset ``corrected``)."""

_COLUMNS = (*IDENTITY_COLUMNS, *ATTRIBUTE_NAMES)
_UNCERTAINTY = r"^.+_uncertainty$"
_UNDEFINED = "null: orientation_defined is false"
_CUT = "null: the particle touches the border"
_FINITE = "a finite number"
_ONE_SAMPLE = "the name of the table's sample in every row"
_MUST_BE_NULL = {_UNDEFINED: ANGLES, _CUT: WHOLE_ONLY}
_GRAVE = ("column_in_dataframe", "dtype(")
_WORDS = {
    "greater_than_or_equal_to": "at least ", "greater_than": "more than ",
    "less_than_or_equal_to": "at most ", "less_than": "less than ", "in_range": "within ",
    "not_nullable": "a value", "field_uniqueness": "a number that occurs once",
    "multiple_fields_uniqueness": "a row that occurs once", "dtype": "values of type ",
    "column_in_dataframe": "this column",
}  # fmt: skip


class _Finite(pa.DataFrameModel):
    """Numbers are finite: what is not defined is null."""

    @pa.dataframe_check(error=_FINITE)
    def check_finite(cls, table: DataFrame) -> Series[bool]:
        """Reject infinite values."""
        return ~np.isinf(table.select_dtypes("floating")).any(axis=1)


class _Attributes(_Finite):
    """What holds for every preset."""

    sample: Series[str]
    particle_id: Series[int] = pa.Field(gt=0, unique=True)
    touches_border: Series[bool]
    voxel_count: Series[int] = pa.Field(gt=0)
    orientation_defined: Series[bool]
    x_um: Series[float] = pa.Field(ge=0)
    y_um: Series[float] = pa.Field(ge=0)
    z_um: Series[float] = pa.Field(ge=0)
    yaw_deg: Series[float] = pa.Field(ge=-180, le=180, nullable=True)
    pitch_deg: Series[float] = pa.Field(ge=-90, le=90, nullable=True)
    roll_deg: Series[float] = pa.Field(ge=-180, le=180, nullable=True)
    electron_density: Series[float] = pa.Field(nullable=True)
    homogeneity: Series[float] = pa.Field(ge=0, nullable=True)
    surface_inner_um2: Series[float] = pa.Field(ge=0, nullable=True)
    surface_outer_um2: Series[float] = pa.Field(gt=0, nullable=True)
    volume_um3: Series[float] = pa.Field(gt=0)
    damage: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    elongation: Series[float] = pa.Field(ge=1, nullable=True)
    sphericity: Series[float] = pa.Field(gt=0, nullable=True)
    vs_ratio: Series[float] = pa.Field(gt=0, nullable=True)
    roughness_inner: Series[float] = pa.Field(ge=0, nullable=True)
    roughness_outer: Series[float] = pa.Field(ge=0, nullable=True)
    sphericity_std: Series[float] = pa.Field(ge=0, nullable=True)
    contact: Series[float] = pa.Field(ge=0, nullable=True)
    packing_density: Series[float] = pa.Field(ge=0, nullable=True)
    distance_nearest_um: Series[float] = pa.Field(gt=0, nullable=True)
    elongation_std: Series[float] = pa.Field(ge=0, nullable=True)
    volume_std_um3: Series[float] = pa.Field(ge=0, nullable=True)
    orientation_isotropy: Series[float] = pa.Field(ge=0, nullable=True)
    uncertainty: Optional[Series[float]] = pa.Field(  # noqa: UP045  (pandera reads no other form)
        alias=_UNCERTAINTY, regex=True, ge=0, nullable=True
    )

    @pa.dataframe_check(error=_ONE_SAMPLE)
    def check_sample(cls, table: DataFrame) -> Series[bool]:
        """Reject rows of another sample than the first row's."""
        return table["sample"] == next(iter(table["sample"]), "")


class ParticleAttributes(_Attributes):
    """A row per particle, preset ``corrected``; a column ``<attribute>_uncertainty`` may follow."""

    yaw_deg: Series[float] = pa.Field(gt=-90, le=90, nullable=True)
    roll_deg: Series[float] = pa.Field(gt=-90, le=90, nullable=True)
    homogeneity: Series[float] = pa.Field(gt=0, nullable=True)
    sphericity: Series[float] = pa.Field(gt=0, le=1.1, nullable=True)
    vs_ratio: Series[float] = pa.Field(gt=0, le=0.5, nullable=True)
    contact: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    packing_density: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    orientation_isotropy: Series[float] = pa.Field(ge=0, le=1, nullable=True)

    @pa.dataframe_check(error=_UNDEFINED)
    def check_orientation(cls, table: DataFrame) -> Series[bool]:
        """Reject angles of a particle without a direction."""
        return table["orientation_defined"] | table[list(ANGLES)].isna().all(axis=1)

    @pa.dataframe_check(error=_CUT)
    def check_border(cls, table: DataFrame) -> Series[bool]:
        """Reject the shape of a border-truncated particle."""
        return ~table["touches_border"] | table[list(WHOLE_ONLY)].isna().all(axis=1)


class ParticleAttributesPaper(_Attributes):
    """A row per particle, preset ``paper``: wider ranges, ``orientation_isotropy`` in degrees.

    There a ball's sphericity may exceed one, neighbours may face more than the outer surface, and
    every particle has angles.
    """


class ParticleContacts(_Finite):
    """A row per particle and neighbour."""

    particle_id: Series[int] = pa.Field(gt=0)
    neighbour_id: Series[int] = pa.Field(gt=0)
    area_um2: Series[float] = pa.Field(gt=0)

    class Config:
        """A pair is listed once in each direction."""

        unique: ClassVar[list[str]] = ["particle_id", "neighbour_id"]

    @pa.dataframe_check(error="neighbour_id: another particle")
    def check_pair(cls, table: DataFrame) -> Series[bool]:
        """Reject a particle in contact with itself."""
        return table["particle_id"] != table["neighbour_id"]


class ParticleDetails(_Finite):
    """A row per particle: what the attribute table has no column for."""

    sample: Series[str]
    particle_id: Series[int] = pa.Field(gt=0, unique=True)
    equivalent_diameter_um: Series[float] = pa.Field(gt=0)
    depth_um: Series[float] = pa.Field(ge=0, nullable=True)
    touching_particles: Series[int] = pa.Field(ge=0)
    crack_width_mean_um: Series[float] = pa.Field(gt=0, nullable=True)
    crack_width_max_um: Series[float] = pa.Field(gt=0, nullable=True)
    flags: Series[str]

    @pa.dataframe_check(error="crack_width_mean_um: at most crack_width_max_um")
    def check_widths(cls, table: DataFrame) -> Series[bool]:
        """Reject a mean width above the largest."""
        return ~(table["crack_width_mean_um"] > table["crack_width_max_um"])


class ParticleProfiles(_Finite):
    """A row per particle and shell, from its surface (depth 0) to its core (depth 1)."""

    particle_id: Series[int] = pa.Field(gt=0)
    shell: Series[int] = pa.Field(ge=0)
    depth_low: Series[float] = pa.Field(ge=0, lt=1)
    depth_high: Series[float] = pa.Field(gt=0, le=1)
    voxel_count: Series[int] = pa.Field(ge=0)
    crack_voxels: Series[int] = pa.Field(ge=0)

    class Config:
        """A shell is listed once."""

        unique: ClassVar[list[str]] = ["particle_id", "shell"]

    @pa.dataframe_check(error="depth_low: less than depth_high")
    def check_depths(cls, table: DataFrame) -> Series[bool]:
        """Reject shells without thickness."""
        return table["depth_low"] < table["depth_high"]

    @pa.dataframe_check(error="crack_voxels: at most voxel_count")
    def check_cracks(cls, table: DataFrame) -> Series[bool]:
        """Reject more crack than shell voxels."""
        return table["crack_voxels"] <= table["voxel_count"]


def validate_attributes(tables: Mapping[str, pd.DataFrame]) -> None:
    """Check attribute tables, each by the preset that its ``attrs`` name.

    Parameters
    ----------
    tables
        Tables by sample.

    Raises
    ------
    TableError
        If a column is missing, out of order or unknown, or a value is impossible; it names the
        sample, the particle, the column and the value.
    """
    for sample, table in tables.items():
        preset = table.attrs.get("preset", PRESETS[0])
        if preset not in PRESETS:
            raise _fault(
                f"particle_attributes of {sample}", f"preset {preset}", " or ".join(PRESETS)
            )
        _check_columns(sample, table)
        model = ParticleAttributes if preset == PRESETS[0] else ParticleAttributesPaper
        _check_table(f"particle_attributes of {sample}", table, model)
        _check_name(f"particle_attributes of {sample}", table, sample)


def validate_details(tables: Mapping[str, pd.DataFrame]) -> None:
    """Check tables of details, by sample; raises as `validate_attributes`."""
    for sample, table in tables.items():
        _check_table(f"particle details of {sample}", table, ParticleDetails)
        _check_name(f"particle details of {sample}", table, sample)


def validate_contacts(tables: Mapping[str, pd.DataFrame]) -> None:
    """Check tables of contacts, by sample; raises as `validate_attributes`."""
    for sample, table in tables.items():
        _check_table(f"particle contacts of {sample}", table, ParticleContacts)


def validate_profiles(tables: Mapping[str, pd.DataFrame]) -> None:
    """Check tables of damage by depth, by sample; raises as `validate_attributes`."""
    for sample, table in tables.items():
        _check_table(f"particle profiles of {sample}", table, ParticleProfiles)


def _check_columns(sample: str, table: pd.DataFrame) -> None:
    names = [str(name) for name in table.columns]
    known = list(_COLUMNS)
    if names[: len(known)] != known:
        missing = [name for name in known if name not in names]
        found = f"no column {', '.join(missing)}" if missing else "columns in another order"
        raise TableError(
            f"particle_attributes of {sample}",
            found=found,
            expected=f"the columns {', '.join(known)}",
            action="this table is of another version or was changed by hand: run "
            "`kedro run --pipelines particle_features` again",
        )
    allowed = {f"{name}_uncertainty" for name in ATTRIBUTE_NAMES}
    unknown = [name for name in names[len(known) :] if name not in allowed]
    if unknown:
        raise _fault(
            f"particle_attributes of {sample}", f"column {unknown[0]}",
            "after the attributes only columns <attribute>_uncertainty",
        )  # fmt: skip


def _check_name(table_name: str, table: pd.DataFrame, sample: str) -> None:
    other = table.loc[table["sample"] != sample]
    if len(other):
        raise _fault(
            f"{table_name}, particle {other['particle_id'].iloc[0]}, column sample",
            repr(other["sample"].iloc[0]), repr(sample),
        )  # fmt: skip


def _check_table(table_name: str, table: pd.DataFrame, model: type[pa.DataFrameModel]) -> None:
    """Validate a table; the gravest failure becomes a located error."""
    numbered = table.reset_index(drop=True)
    try:
        model.validate(numbered, lazy=True)
    except pandera.errors.SchemaErrors as error:
        raise _locate(table_name, numbered, error.failure_cases) from error


def _locate(table_name: str, table: pd.DataFrame, failures: pd.DataFrame) -> TableError:
    cases = failures.astype({"check": str, "column": str})
    grave = cases[cases["check"].str.startswith(_GRAVE)]
    in_columns = cases[cases["schema_context"] == "Column"]
    first = next(part for part in (grave, in_columns, cases) if len(part)).iloc[0]
    check, column, value = first["check"], first["column"], first["failure_case"]
    expected = _say(check)
    if check == "column_in_dataframe":
        return _fault(table_name, f"no column {value}", expected)
    if pd.isna(first["index"]):
        return _fault(f"{table_name}, column {column}", str(value), expected)
    row = {str(name): table[name].iloc[int(first["index"])] for name in table}
    if first["schema_context"] != "Column":
        column, expected = _name_column(check, row)
        value = row[column]
    particle = f", particle {row['particle_id']}" if "particle_id" in row else ""
    total = cases.loc[cases["check"] == check, "index"].nunique()
    more = f" (and {total - 1} further rows that break this rule)" if total > 1 else ""
    return _fault(f"{table_name}{particle}, column {column}", f"{value}{more}", expected)


def _name_column(check: str, row: Mapping[str, Any]) -> tuple[str, str]:
    """Name the column of a row that breaks a rule over several columns, and the rule."""
    if check in _MUST_BE_NULL:
        return next(name for name in _MUST_BE_NULL[check] if not pd.isna(row[name])), check
    if check == _FINITE:
        return next(
            n for n, value in row.items() if isinstance(value, float) and np.isinf(value)
        ), check
    if check == _ONE_SAMPLE:
        return "sample", check
    column, _, expected = check.partition(": ")
    return (column, expected) if expected else (next(iter(row)), _say(check))


def _say(check: str) -> str:
    """Put pandera's name of a check into words."""
    name, _, arguments = check.partition("(")
    return f"{_WORDS[name]}{arguments.rstrip(')')}" if name in _WORDS else check


def _fault(where: str, found: str, expected: str) -> TableError:
    return TableError(
        where,
        found=found,
        expected=expected,
        action="look at this particle in the label volume; if its labels are sound, this is a "
        "fault of the program: report it with this message",
    )
