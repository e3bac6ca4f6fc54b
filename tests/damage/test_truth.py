"""Planted weights measured from simulated damage, and set beside what was found."""

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.damage.attribution import (
    TRUTH_COLUMNS,
    evaluate_simulated,
    measure_weights,
)


def draw_particles(depth=-0.8, contact=0.5, size=0.3, count=400, seed=0):
    """Particles whose logit of damage is linear in the standardised drivers."""
    rng = np.random.default_rng(seed)
    diameter = rng.uniform(5, 15, count)
    touching = rng.integers(1, 9, count)
    depth_um = rng.uniform(0, 40, count)
    logit = -2.0 + sum(
        weight * (values - values.mean()) / values.std()
        for weight, values in (
            (depth, depth_um), (contact, touching / diameter**2), (size, diameter),
        )
    )  # fmt: skip
    return pd.DataFrame(
        {
            "simulated_damage": 1 / (1 + np.exp(-logit)), "depth_um": depth_um,
            "contact_neighbours": touching, "diameter_um": diameter,
        }
    )  # fmt: skip


def make_importance(sample="cyc10"):
    rows = [
        ("Z", "z_um", "group", 1.0, 0.4, True),
        ("Size", "surface_outer_um2, volume_um3", "group", 2.0, 0.1, False),
        ("Contact", "contact", "group", 3.0, 0.05, True),
        ("pure noise", "", "noise", np.nan, 0.0, False),
    ]
    columns = ["group", "members", "kind", "rank", "explained", "significant"]
    return pd.DataFrame(rows, columns=columns).assign(sample=sample)


def make_attributes(sample="cyc10", contact=0.9):
    direction = {"z_um": -0.9, "contact": contact, "volume_um3": 0.7, "surface_outer_um2": -0.2}
    return pd.DataFrame(
        {"sample": sample, "attribute": list(direction), "direction": list(direction.values())}
    )


def test_weights_are_those_of_the_law():
    weights = measure_weights(draw_particles())
    assert weights == pytest.approx({"depth": -0.8, "contact": 0.5, "size": 0.3}, abs=1e-9)


def test_a_driver_that_does_not_vary_has_no_weight():
    particles = draw_particles(contact=0).assign(diameter_um=10.0, contact_neighbours=4)
    particles["simulated_damage"] = 1 / (1 + np.exp(particles["depth_um"] / 10))
    weights = measure_weights(particles)
    assert weights["depth"] == pytest.approx(-particles["depth_um"].std(ddof=0) / 10)
    assert (weights["contact"], weights["size"]) == pytest.approx((0, 0), abs=1e-12)


@pytest.mark.parametrize(("contact", "agrees"), [(0.9, True), (-0.4, False)])
def test_drivers_stand_beside_what_was_found_the_largest_first(contact, agrees):
    evaluated = evaluate_simulated(
        make_importance(), make_attributes(contact=contact), {"cyc10": draw_particles()}
    )
    assert tuple(evaluated.columns) == TRUTH_COLUMNS
    assert evaluated["driver"].tolist() == ["depth", "contact", "size"]
    assert evaluated["group"].tolist() == ["Z", "Contact", "Size"]
    assert evaluated["rank"].tolist() == [1, 3, 2]
    assert evaluated["significant"].tolist() == [True, True, False]
    assert evaluated["direction"].tolist() == [-0.9, contact, 0.7]
    assert evaluated["direction_agrees"].tolist() == [True, agrees, True]


def test_samples_are_judged_apart_and_drivers_left_out_are_passed_over():
    importance = pd.concat([make_importance("cyc10"), make_importance("cyc50").iloc[:2]])
    attributes = pd.concat([make_attributes("cyc10"), make_attributes("cyc50")])
    truth = {"cyc10": draw_particles(), "cyc50": draw_particles(depth=-0.1, seed=1)}
    evaluated = evaluate_simulated(importance, attributes, truth)
    drivers = {sample: part["driver"].tolist() for sample, part in evaluated.groupby("sample")}
    assert drivers == {"cyc10": ["depth", "contact", "size"], "cyc50": ["size", "depth"]}
