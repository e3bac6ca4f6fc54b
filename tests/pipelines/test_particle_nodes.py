"""The nodes of ``particle_features`` on samples with nothing, or next to nothing, in them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.contracts.particles import (
    validate_attributes,
    validate_contacts,
    validate_details,
    validate_profiles,
)
from ncm_kedro.params.particle_features import (
    AttributeParams,
    ElectrodeParams,
    ParticleFigureParams,
)
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.particles.measure import measure_specimen
from ncm_kedro.particles.plan import Measurements
from ncm_kedro.particles.specimen import Specimen
from ncm_kedro.pipelines.particle_features import nodes

EDGES_UM = (0.1, 0.1, 0.1)
TABLE = pd.DataFrame(
    {
        "sample": ["empty", "one", "refused"],
        "fingerprint": ["t", "t", None],
        "cycles": [10.0, 50.0, 50.0],
        "rejected_reason": [None, None, "not a tomogram"],
        **{f"voxel_{axis}_um": 0.1 for axis in "zyx"},
    }
)


@pytest.fixture(scope="module", params=["corrected", "paper"])
def made(request):
    """Measurements, among them one of an earlier run, and the tables that are made of them."""
    params = AttributeParams(preset=request.param, profile_bins=5, crack_width=True)
    compute = TomoComputeParams(block_edge_vx=32)
    ball = np.zeros((40, 40, 40), np.uint16)
    ball[((np.mgrid[:40, :40, :40] - 20) ** 2).sum(0) < 100] = 3
    volumes = {"empty": np.zeros_like(ball), "one": ball, "earlier": ball}
    measurements = Measurements(
        {
            name: replace(
                measure_specimen(Specimen(name, labels, EDGES_UM), params, compute),
                made_from={"tomogram": "t", "labels": "l"},
            )
            for name, labels in volumes.items()
        }
    )
    return measurements, nodes.tabulate_particles(measurements, TABLE, params)


def test_tables_hold_their_contracts_and_the_samples_of_this_run(made):
    attributes, details, contacts, profiles = made[1]
    validate_attributes(attributes)
    validate_details(details)
    validate_contacts(contacts)
    validate_profiles(profiles)
    for tables in made[1]:
        assert list(tables) == ["empty", "one"]
        assert tables["empty"].empty
    assert len(attributes["one"]) == len(details["one"]) == 1
    assert len(profiles["one"]) == 5


def test_an_empty_sample_is_exported_as_what_is_known_of_it(made):
    measurements, (attributes, details, _, _) = made
    exported, quantities, sizes = nodes.export_electrodes(
        measurements, attributes, details, TABLE, ElectrodeParams()
    )
    assert json.loads(json.dumps(exported, allow_nan=False))["empty"] == {}
    active = exported["one"]["Positive electrode active material volume fraction"]
    assert active == pytest.approx(details["one"]["equivalent_diameter_um"][0] ** 3 * np.pi / 6
                                   / 4.0**3, rel=0.01)  # fmt: skip
    assert set(quantities["sample"]) == {"empty", "one"}
    assert set(sizes["sample"]) == {"one"}


def test_nothing_is_compared_with_nothing(made):
    comparison = nodes.compare_electrodes(made[1][0], TABLE, ParticleFigureParams(resamples=100))
    assert comparison["p_value"].isna().all()
