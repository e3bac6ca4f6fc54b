"""Contracts of measured particles: sound tables pass, each fault is named with its place."""

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog
from kedro.validation.exceptions import DataValidationError

from ncm_kedro.contracts.particles import (
    ParticleAttributes,
    validate_attributes,
    validate_contacts,
    validate_details,
    validate_profiles,
)
from ncm_kedro.errors import TableError
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, IDENTITY_COLUMNS

WHOLE = {"sample": "cyc10", "particle_id": 7, "touches_border": False, "voxel_count": 4200,
         "orientation_defined": True, "x_um": 4.0, "y_um": 5.0, "z_um": 6.0, "yaw_deg": 90.0,
         "pitch_deg": -90.0, "roll_deg": 12.0, "electron_density": 140.0, "homogeneity": 0.2,
         "surface_inner_um2": 3.0, "surface_outer_um2": 30.0, "volume_um3": 14.0, "damage": 0.1,
         "elongation": 1.3, "sphericity": 1.02, "vs_ratio": 0.44, "roughness_inner": 0.01,
         "roughness_outer": 0.0, "sphericity_std": 0.1, "contact": 1.0, "packing_density": 0.4,
         "distance_nearest_um": 11.0, "elongation_std": 0.2, "volume_std_um3": 3.0,
         "orientation_isotropy": 0.4}  # fmt: skip
NO_SHAPE = ("yaw_deg", "pitch_deg", "roll_deg", "elongation", "sphericity", "vs_ratio",
            "roughness_inner", "roughness_outer")  # fmt: skip
CUT = {**WHOLE, "particle_id": 9, "touches_border": True, "orientation_defined": False,
       **dict.fromkeys(NO_SHAPE, np.nan)}  # fmt: skip
CONTACTS = pd.DataFrame({"particle_id": [7, 9], "neighbour_id": [9, 7], "area_um2": [1.0, 1.1]})
DETAILS = pd.DataFrame({
    "sample": "cyc10", "particle_id": [7, 9], "equivalent_diameter_um": [3.0, 4.0],
    "depth_um": [2.0, np.nan], "touching_particles": [1, 0],
    "crack_width_mean_um": [0.2, np.nan], "crack_width_max_um": [0.3, np.nan],
    "flags": ["", "touches_border, small"],
})  # fmt: skip
PROFILES = pd.DataFrame({
    "particle_id": [7, 7, 9], "shell": [0, 1, 0], "depth_low": [0.0, 0.5, 0.0],
    "depth_high": [0.5, 1.0, 1.0], "voxel_count": [9, 4, 0], "crack_voxels": [1, 4, 0],
})  # fmt: skip


def make_table(preset="corrected", **changes):
    table = pd.DataFrame([WHOLE, CUT])[[*IDENTITY_COLUMNS, *ATTRIBUTE_NAMES]]
    for name, value in changes.items():
        table[name] = table[name].astype(object)
        table.loc[0, name] = value
        table[name] = table[name].infer_objects()
    table.attrs["preset"] = preset
    return table


def test_sound_tables_pass():
    validate_attributes({"cyc10": make_table()})
    validate_contacts({"cyc10": CONTACTS, "none": CONTACTS.iloc[:0]})
    validate_details({"cyc10": DETAILS, "none": DETAILS.iloc[:0]})
    validate_profiles({"cyc10": PROFILES, "none": PROFILES.iloc[:0]})
    validate_attributes({"none": make_table().iloc[:0]})
    ParticleAttributes.validate(make_table())


def test_every_attribute_may_be_null_but_position_and_volume():
    kept = [*IDENTITY_COLUMNS, "x_um", "y_um", "z_um", "volume_um3"]
    table = make_table(orientation_defined=False)
    table[[name for name in table if name not in kept]] = np.nan
    validate_attributes({"cyc10": table})
    for name in kept:
        with pytest.raises(TableError, match=f"column {name}"):
            validate_attributes({"cyc10": make_table(**{name: np.nan})})


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("damage", 1.01, "at most 1"),
        ("damage", -0.01, "at least 0"),
        ("sphericity", 1.11, "at most 1.1"),
        ("sphericity", 0.0, "more than 0"),
        ("vs_ratio", 0.6, "at most 0.5"),
        ("elongation", 0.99, "at least 1"),
        ("contact", 1.2, "at most 1"),
        ("packing_density", 1.2, "at most 1"),
        ("orientation_isotropy", 1.2, "at most 1"),
        ("yaw_deg", -90.0, "more than -90"),
        ("pitch_deg", 90.5, "at most 90"),
        ("roll_deg", -90.0, "more than -90"),
        ("volume_um3", 0.0, "more than 0"),
        ("surface_outer_um2", 0.0, "more than 0"),
        ("homogeneity", 0.0, "more than 0"),
        ("homogeneity", np.inf, "a finite number"),
        ("electron_density", -np.inf, "a finite number"),
        ("distance_nearest_um", np.inf, "a finite number"),
        ("voxel_count", 0, "more than 0"),
        ("orientation_defined", False, "null: orientation_defined is false"),
        ("touches_border", True, "null: the particle touches the border"),
    ],
)
def test_an_impossible_value_is_named(column, value, expected):
    with pytest.raises(TableError) as caught:
        validate_attributes({"cyc10": make_table(**{column: value})})
    error = caught.value
    named = "yaw_deg" if expected.startswith("null") else column
    assert error.where == f"particle_attributes of cyc10, particle 7, column {named}"
    assert error.expected == expected
    assert error.found == str(90.0 if expected.startswith("null") else value)


@pytest.mark.parametrize("column", NO_SHAPE)
def test_a_cut_particle_has_no_shape(column):
    table = make_table(orientation_defined=True)
    table.loc[1, "orientation_defined"] = True
    table.loc[1, column] = table.loc[0, column]
    with pytest.raises(TableError, match=f"particle 9, column {column}: .*touches the border"):
        validate_attributes({"cyc10": table})


def test_the_paper_preset_has_wider_ranges():
    wide = {"sphericity": 1.8, "contact": 1.4, "packing_density": 1.5, "yaw_deg": -170.0,
            "orientation_isotropy": 51.0, "electron_density": -3.0, "vs_ratio": 0.6}  # fmt: skip
    table = make_table("paper", **wide)
    table.loc[1, "sphericity"] = 0.7
    validate_attributes({"cyc10": table})
    validate_attributes({"cyc10": make_table("paper", orientation_defined=False)})
    for column, value in {"damage": 1.2, "sphericity": -1.0, "packing_density": np.inf}.items():
        with pytest.raises(TableError, match=f"particle 7, column {column}"):
            validate_attributes({"cyc10": make_table("paper", **{column: value})})
    with pytest.raises(TableError, match="preset papre"):
        validate_attributes({"cyc10": make_table("papre")})


def test_further_rows_are_counted():
    table = make_table(volume_um3=-1.0)
    table.loc[1, "volume_um3"] = -2.0
    with pytest.raises(TableError, match=r"found -1.0 \(and 1 further rows"):
        validate_attributes({"cyc10": table})


def test_columns_and_rows_are_checked():
    table = make_table()
    with pytest.raises(TableError, match=r"found no column damage;.*particle_features` again"):
        validate_attributes({"cyc10": table.drop(columns="damage")})
    old = table.drop(columns=["contact", "damage"])
    with pytest.raises(TableError, match="no column damage, contact"):
        validate_attributes({"cyc10": old})
    with pytest.raises(TableError, match="another order"):
        validate_attributes({"cyc10": table[table.columns[::-1]]})
    with pytest.raises(TableError, match="column size"):
        validate_attributes({"cyc10": table.assign(size=1.0)})
    with pytest.raises(TableError, match=r"column particle_id: found float64.*int64"):
        validate_attributes({"cyc10": table.astype({"particle_id": float})})
    with pytest.raises(TableError, match=r"column touches_border: found int64.*bool"):
        validate_attributes({"cyc10": table.astype({"touches_border": int})})
    with pytest.raises(TableError, match=r"particle 7, column particle_id.*occurs once"):
        validate_attributes({"cyc10": table.assign(particle_id=7)})
    with pytest.raises(TableError, match="particle 9, column sample: found cyc50"):
        validate_attributes({"cyc10": table.assign(sample=["cyc10", "cyc50"])})
    with pytest.raises(TableError, match="column sample: found 'cyc10'; expected 'cyc50'"):
        validate_attributes({"cyc50": table})


def test_uncertainties_may_follow():
    table = make_table().assign(damage_uncertainty=[0.01, np.nan])
    validate_attributes({"cyc10": table})
    with pytest.raises(TableError, match=r"column damage_uncertainty: found -1\.0"):
        validate_attributes({"cyc10": table.assign(damage_uncertainty=-1.0)})
    with pytest.raises(TableError, match="column size_uncertainty"):
        validate_attributes({"cyc10": table.assign(size_uncertainty=1.0)})


@pytest.mark.parametrize(
    ("check", "table", "changes", "message"),
    [
        (validate_contacts, CONTACTS, {"neighbour_id": [7, 7]},
         "particle 7, column neighbour_id: found 7; expected another particle"),
        (validate_contacts, CONTACTS, {"area_um2": [0.0, 1.0]}, "particle 7, column area_um2"),
        (validate_contacts, CONTACTS, {"area_um2": [1.0, np.nan]}, "particle 9, column area_um2"),
        (validate_contacts, CONTACTS, {"particle_id": [7, 7], "neighbour_id": 9}, "occurs once"),
        (validate_details, DETAILS, {"depth_um": [-1.0, 1.0]}, "particle 7, column depth_um"),
        (validate_details, DETAILS, {"touching_particles": [-1, 1]}, "touching_particles"),
        (validate_details, DETAILS, {"crack_width_mean_um": [0.4, 0.1]},
         "column crack_width_mean_um: found 0.4; expected at most crack_width_max_um"),
        (validate_details, DETAILS, {"sample": "b"}, "expected 'cyc10'"),
        (validate_profiles, PROFILES, {"crack_voxels": [1, 5, 0]},
         "particle 7, column crack_voxels: found 5; expected at most voxel_count"),
        (validate_profiles, PROFILES, {"shell": 0}, "occurs once"),
        (validate_profiles, PROFILES, {"depth_high": [0.5, 0.5, 1.0]}, "less than depth_high"),
        (validate_profiles, PROFILES, {"depth_high": [0.5, 1.5, 1.0]}, "at most 1"),
    ],
)  # fmt: skip
def test_other_tables_are_checked(check, table, changes, message):
    with pytest.raises(TableError, match=message):
        check({"cyc10": table.assign(**changes)})


def test_a_catalog_applies_it(tmp_path):
    catalog = DataCatalog.from_config({
        "particle_attributes": {
            "type": "ncm_kedro.datasets.particles.tables.ParticleTableFolder",
            "filepath": str(tmp_path / "a"), "columns": "attributes",
            "validator": "ncm_kedro.contracts.particles.validate_attributes",
        }
    })  # fmt: skip
    catalog.save("particle_attributes", {"cyc10": make_table()})
    loaded = catalog.load("particle_attributes")["cyc10"]
    pd.testing.assert_frame_equal(loaded, make_table())
    with pytest.raises(DataValidationError, match="particle 7, column damage") as caught:
        catalog.save("particle_attributes", {"cyc10": make_table(damage=3.0)})
    assert isinstance(caught.value.__cause__, TableError)
