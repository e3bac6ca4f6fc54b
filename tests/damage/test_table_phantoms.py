"""Table phantoms: their contract, and the simulated damage model is found again."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import logit

from ncm_kedro.contracts.particles import (
    validate_attributes,
    validate_contacts,
    validate_details,
)
from ncm_kedro.contracts.tomo import TomogramTable
from ncm_kedro.params.tomo_phantoms import DamageLawParams
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES
from table_phantoms.columns import UNCERTAINTY_SHARES
from table_phantoms.params import (
    ParticleTableParams,
    TableSampleParams,
)
from table_phantoms.tables import (
    DRIVERS,
    ParticleTablePhantom,
    draw_particle_tables,
)

LAW = ["depth", "contact", "size"]
NULL_LAW = DamageLawParams(depth=0, contact=0, size=0)


@cache
def draw(seed: int = 1, particles: int = 2000, **settings: Any) -> ParticleTablePhantom:
    settings.setdefault("samples", ("cyc10",))
    names = settings.pop("samples")
    samples = {name: ParticleTableParams().samples[name] for name in names}
    return draw_particle_tables(
        ParticleTableParams(samples=samples, particles=particles, **settings), seed
    )


def keep_whole(phantom: ParticleTablePhantom, sample: str = "cyc10") -> pd.DataFrame:
    table = phantom.attributes[sample]
    return table[~table["touches_border"]]


def fit_weights(
    truth: pd.DataFrame, sample: TableSampleParams, law: DamageLawParams
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights by least squares on the logit, and their standard errors."""
    design = np.column_stack([np.ones(len(truth)), truth[LAW]])
    target = logit(truth["simulated_damage"] / law.max_damage) / sample.asynchrony
    found, *_ = np.linalg.lstsq(design, target.to_numpy(), rcond=None)
    rest = target - design @ found
    variance = rest @ rest / (len(truth) - design.shape[1])
    errors = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    return found[1:], errors[1:]


@pytest.mark.parametrize(
    ("preset", "seed", "particles", "noise"), [("corrected", 0, 60, 0), ("paper", 1, 200, 0.3)]
)
def test_tables_hold_the_contracts(preset: Any, seed: int, particles: int, noise: float) -> None:
    phantom = draw(
        seed, particles, samples=("cyc50", "cyc10"), preset=preset, measurement_noise=noise
    )
    validate_attributes(phantom.attributes)
    validate_details(phantom.details)
    validate_contacts(phantom.contacts)
    TomogramTable.validate(phantom.table)
    assert list(phantom.table["sample"]) == ["cyc10", "cyc50"]
    for name, table in phantom.attributes.items():
        assert len(table) == len(phantom.truth[name]) == particles
        assert table.attrs["sample"] == name
        assert table.attrs["preset"] == table.attrs["settings"]["preset"] == preset
        given = [column for column in table if column.endswith("_uncertainty")]
        expected = [f"{column}_uncertainty" for column in UNCERTAINTY_SHARES]
        assert given == (expected if noise else [])


@pytest.mark.parametrize(
    "law",
    [
        DamageLawParams(),
        DamageLawParams(depth=0, size=0),
        DamageLawParams(depth=0.8, contact=-0.3, size=0, noise=1),
    ],
)
def test_law_is_found_again(law: DamageLawParams) -> None:
    phantom = draw(samples=("cyc10", "cyc50"), law=law)
    for name, sample in ParticleTableParams().samples.items():
        found, errors = fit_weights(phantom.truth[name], sample, law)
        simulated = np.array([law.depth, law.contact, law.size])
        assert (np.abs(found - simulated) < 3.5 * errors).all()
        assert errors.max() < 0.04
    assert phantom.drivers == {
        DRIVERS[driver]: getattr(law, driver) for driver in DRIVERS if getattr(law, driver) != 0
    }


def test_null_world_has_no_drivers() -> None:
    phantom = draw(law=NULL_LAW, particles=4000)
    whole = keep_whole(phantom)
    free = [name for name in ATTRIBUTE_NAMES if name not in
            ("damage", "surface_inner_um2", "roughness_inner")]  # fmt: skip
    related = whole[free].corrwith(whole["damage"]).abs()
    assert related.max() < 4.5 / np.sqrt(whole[free].notna().sum().min())
    assert phantom.drivers == {}
    assert whole["damage"].std() > 0.01


def test_threshold_makes_a_step() -> None:
    driver: Any = "depth"
    law = NULL_LAW.model_copy(update={driver: 0.8})
    truth = draw(threshold_driver=driver, threshold_quantile=0.3, law=law).truth["cyc10"]
    levels = np.sort(truth[driver].unique())
    assert len(levels) == 2
    assert (truth[driver] == levels[0]).mean() == pytest.approx(0.3, abs=0.01)
    plain = draw().truth["cyc10"][driver]
    target = logit(truth["simulated_damage"] / law.max_damage)
    above = truth[driver] == levels[1]
    assert plain[above].min() > plain[~above].max()
    step = target[above].mean() - target[~above].mean()
    assert step == pytest.approx(0.8 * (levels[1] - levels[0]), abs=0.06)
    for side in (above, ~above):
        assert abs(plain[side].corr(target[side])) < 4 / np.sqrt(side.sum())
