"""The exported parameters mean the same in PyBaMM, and PyBaMM runs on them."""

import importlib
import json
import os
import warnings
from dataclasses import replace

import numpy as np
import pytest

from ncm_kedro.particles.electrode.electrode import ElectrodeGeometry, SurfaceDensities
from ncm_kedro.particles.electrode.export import tabulate_sizes, to_pybamm, to_table
from ncm_kedro.particles.electrode.layer import Layer
from ncm_kedro.particles.electrode.sizes import estimate_sizes, measure_moments

SURFACES = SurfaceDensities(0.4, 0.5, 0.25, 0.1, 0.05, 0.3)
LAYER = Layer(axis=0, low_um=2.0, high_um=72.0, ends_low=True, ends_high=True)


def make_geometry(n=400, **changes):
    radius_um = np.exp(np.random.default_rng(0).normal(np.log(4), 0.25, n))
    weights = np.ones(n)
    geometry = ElectrodeGeometry(
        layer=LAYER, active_fraction=0.6, inactive_fraction=None, particles=n, whole_particles=n,
        radius=measure_moments(radius_um, weights), sizes=estimate_sizes(radius_um, weights, 100),
        coordination=4.0, surfaces=SURFACES,
    )  # fmt: skip
    return replace(geometry, **changes)


@pytest.fixture(scope="module")
def pybamm():
    os.environ["PYBAMM_DISABLE_TELEMETRY"] = "true"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("pybamm")


@pytest.fixture
def loaded(pybamm, tmp_path):
    """Chen2020 with what was exported on top, read from a file as a user would."""
    path = tmp_path / "sample.json"
    path.write_text(json.dumps(to_pybamm(make_geometry(inactive_fraction=0.1)), allow_nan=False))
    values = pybamm.get_size_distribution_parameters(pybamm.ParameterValues("Chen2020"))
    values.update(pybamm.ParameterValues.from_json(path), strict=True)
    return values


class TestPybamm:
    def test_values_are_in_si(self, loaded):
        geometry = make_geometry(inactive_fraction=0.1)
        assert loaded["Positive electrode thickness [m]"] == pytest.approx(70e-6)
        assert loaded["Positive electrode porosity"] == pytest.approx(0.3)
        assert loaded["Positive electrode active material volume fraction"] == 0.6
        assert loaded["Positive particle radius [m]"] == pytest.approx(
            geometry.radius.area_mean_um * 1e-6
        )

    @pytest.mark.parametrize("name", ["SPM", "DFN"])
    def test_a_short_discharge_runs(self, pybamm, loaded, name):
        model = getattr(pybamm.lithium_ion, name)()
        solution = pybamm.Simulation(model, parameter_values=loaded).solve([0, 300])
        assert 3.5 < solution["Voltage [V]"].entries[-1] < solution["Voltage [V]"].entries[0]
        balls = solution["X-averaged positive electrode surface area to volume ratio [m-1]"]
        listed = to_table({"a": make_geometry()}).set_index("quantity").value["surface_balls"]
        assert balls.entries[0] == pytest.approx(listed * 1e6, rel=1e-6)

    def test_a_size_distribution_runs_with_our_means(self, pybamm, loaded):
        simulation = pybamm.Simulation(pybamm.lithium_ion.MPM(), parameter_values=loaded)
        solution = simulation.solve([0, 300])
        assert 3.5 < solution["Voltage [V]"].entries[-1] < solution["Voltage [V]"].entries[0]
        radius = make_geometry().radius
        for theirs, ours in (
            ("number-based", radius.number_mean_um),
            ("area-weighted", radius.area_mean_um),
            ("volume-weighted", radius.volume_mean_um),
        ):
            mean_m = np.ravel(solution[f"Positive {theirs} mean particle radius [m]"].entries)[0]
            assert mean_m == pytest.approx(ours * 1e-6, rel=0.02)


class TestWhatIsLeftOut:
    def test_a_cut_layer_has_no_thickness(self):
        for layer in (None, replace(LAYER, ends_low=False)):
            assert "Positive electrode thickness [m]" not in to_pybamm(make_geometry(layer=layer))

    def test_no_porosity_without_the_inactive_solid(self):
        assert "Positive electrode porosity" not in to_pybamm(make_geometry())

    def test_no_sizes_without_whole_particles(self):
        values = to_pybamm(make_geometry(radius=None, sizes=None, active_fraction=float("nan")))
        assert set(values) == {"Positive electrode thickness [m]"}


class TestTables:
    def test_rows_of_every_sample(self):
        table = to_table({"a": make_geometry(), "b": make_geometry(radius=None, sizes=None)})
        assert list(table.columns) == ["sample", "quantity", "value", "unit", "basis"]
        assert not table.duplicated(["sample", "quantity"]).any()
        assert table["value"].dtype == np.float64
        values = table.pivot_table("value", "quantity", "sample", dropna=False)
        assert values.loc["electrode_thickness", "a"] == 70
        assert values.loc["void_and_binder_fraction", "a"] == pytest.approx(0.4)
        assert values.loc[["porosity"]].isna().all(axis=None)
        assert np.isnan(values.loc["radius_area_mean", "b"])

    def test_a_cut_layer_says_so(self):
        table = to_table({"a": make_geometry(layer=replace(LAYER, ends_high=False))})
        basis = table.set_index("quantity").basis["electrode_thickness"]
        assert "lower bound" in basis

    def test_sizes(self):
        table = tabulate_sizes({"a": make_geometry(), "b": make_geometry(radius=None, sizes=None)})
        assert set(table["sample"]) == {"a"}
        assert len(table) == 100
        assert np.trapezoid(table["volume_per_um"], table["radius_um"]) == pytest.approx(1)
        empty = tabulate_sizes({})
        assert list(empty.columns) == list(table.columns)
