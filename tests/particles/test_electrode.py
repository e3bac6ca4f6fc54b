"""Electrodes of known balls: fractions, layer, sizes, surfaces."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ncm_kedro.errors import SettingsError, TableError, TomogramError
from ncm_kedro.params.particle_features import ElectrodeParams
from ncm_kedro.particles.electrode.electrode import describe_electrode
from ncm_kedro.particles.electrode.layer import find_layer, measure_share
from ncm_kedro.particles.electrode.sizes import (
    estimate_sizes,
    measure_moments,
    weigh_whole_particles,
)

EDGE = 4
STEP_UM = 0.1


def fill_cells(share, across=8, last=EDGE):
    """Cells of which each slice along z is labelled to a fraction, here of 1/1000 voxel."""
    share = np.asarray(share, dtype=float)
    valid = np.full((len(share), across, across), 1000 * EDGE**3, dtype=np.int64)
    valid[-1] = 1000 * EDGE**2 * last
    filled = np.rint(valid * share[:, None, None]).astype(np.int64)
    return SimpleNamespace(edge_vx=(EDGE, EDGE, EDGE), valid=valid, filled=filled)


def make_measurement(cells=None, axis="-z", particles=None, step_um=STEP_UM, last=EDGE):
    cells = fill_cells(np.full(10, 0.5)) if cells is None else cells
    depth, height, width = (n * EDGE for n in cells.valid.shape)
    return SimpleNamespace(
        name="sample", voxel_size_um=(step_um,) * 3, axis_to_collector=axis, cells=cells,
        shape_zyx=(depth - EDGE + last, height, width), particles=particles,
    )  # fmt: skip


def describe_balls(radius_um, border=None, damage=0.0, params=None, solid_share=1.0, **changes):
    """Describe an electrode of balls that touch two others each."""
    radius_um = np.asarray(radius_um, dtype=float)
    n = len(radius_um)
    volume, surface = 4 / 3 * np.pi * radius_um**3, 4 * np.pi * radius_um**2
    voxels = np.rint(volume / STEP_UM**3).astype(int)
    side = np.rint(2 * radius_um / STEP_UM).astype(int)
    ids = np.arange(1, n + 1)
    raw = pd.DataFrame({"particle_id": ids, "label_voxels": voxels,
                        "label_solid": np.rint(voxels * solid_share).astype(int)})  # fmt: skip
    for axis in "zyx":
        raw[f"{axis}_start_vx"], raw[f"{axis}_stop_vx"] = 1, 1 + side
    border = np.zeros(n, bool) if border is None else np.asarray(border)
    attributes = pd.DataFrame(
        {"sample": "sample", "particle_id": ids, "touches_border": border, "volume_um3": volume,
         "surface_outer_um2": surface, "surface_inner_um2": 0.5 * surface, "damage": damage,
         "contact": 0.2}
    )  # fmt: skip
    details = pd.DataFrame({"particle_id": ids, "touching_particles": 2,
                            "crack_width_mean_um": 0.3})  # fmt: skip
    measurement = make_measurement(particles=raw, **changes)
    return describe_electrode(measurement, attributes, details, params or ElectrodeParams())


class TestLayer:
    @pytest.mark.parametrize("axis", ["-z", "+z", "z"])
    def test_finds_a_slab_inside_the_volume(self, axis):
        cells = fill_cells([0, 0, 0, 0.6, 0.6, 0.6, 0.6, 0.6, 0, 0])
        layer = find_layer(make_measurement(cells, axis))
        assert layer.complete
        assert layer.low_um == pytest.approx(3 * EDGE * STEP_UM, abs=EDGE * STEP_UM / 2)
        assert layer.high_um == pytest.approx(8 * EDGE * STEP_UM, abs=EDGE * STEP_UM / 2)

    def test_says_where_the_volume_cuts_the_electrode(self):
        layer = find_layer(make_measurement(fill_cells([0.6] * 6 + [0] * 4)))
        assert (layer.ends_low, layer.ends_high) == (False, True)
        assert layer.low_um == 0
        assert not layer.complete

    def test_gaps_within_the_electrode_are_no_ends(self):
        layer = find_layer(make_measurement(fill_cells([0, 0.6, 0.1, 0.6, 0.5, 0])))
        assert layer.thickness_um == pytest.approx(4 * EDGE * STEP_UM, abs=EDGE * STEP_UM)

    def test_last_slice_may_be_thin(self):
        layer = find_layer(make_measurement(fill_cells([0.6] * 5, last=1), last=1))
        assert layer.thickness_um == pytest.approx((4 * EDGE + 1) * STEP_UM)

    def test_other_axis_and_view(self):
        cells = fill_cells([0] * 5 + [0.5] * 60 + [0] * 5)
        cells.valid[:, :2], cells.filled[:, :2] = 0, 0
        turned = SimpleNamespace(
            edge_vx=cells.edge_vx,
            valid=np.moveaxis(cells.valid, 0, 2), filled=np.moveaxis(cells.filled, 0, 2),
        )  # fmt: skip
        layer = find_layer(make_measurement(turned, "+x"))
        assert layer.axis == 2
        assert layer.thickness_um == pytest.approx(60 * EDGE * STEP_UM, rel=0.02)
        assert measure_share(make_measurement(turned, "+x"), layer) == pytest.approx(0.5, rel=0.02)

    def test_round_particles_leave_the_collector_bare(self):
        depth, radius = (np.arange(300) + 0.5) * EDGE, 100.0
        part = np.minimum(np.minimum(depth, 300 * EDGE - depth) / (2 * radius), 1)
        profile = 0.6 * (3 * part**2 - 2 * part**3)
        layer = find_layer(make_measurement(fill_cells(profile)))
        assert layer.low_um == pytest.approx(0.39 * radius * STEP_UM, abs=STEP_UM)
        assert layer.complete

    def test_unknown_axis_or_empty_volume(self):
        assert find_layer(make_measurement(axis=None)) is None
        assert find_layer(make_measurement(fill_cells(np.zeros(5)))) is None
        with pytest.raises(TomogramError, match="axis_to_collector"):
            find_layer(make_measurement(axis="up"))

    def test_share_is_taken_within_the_layer(self):
        measurement = make_measurement(fill_cells([0] * 60 + [0.6] * 60 + [0] * 60))
        assert measure_share(measurement, None) == pytest.approx(0.2)
        assert measure_share(measurement, find_layer(measurement)) == pytest.approx(0.6, rel=0.02)


class TestSizes:
    def test_one_size(self):
        radius = np.full(50, 4.0)
        moments = measure_moments(radius, np.ones(50))
        assert moments.number_mean_um == moments.area_mean_um == moments.volume_mean_um == 4
        assert moments.volume_std_um == pytest.approx(0, abs=1e-9)
        sizes = estimate_sizes(radius, np.ones(50), 100)
        assert np.trapezoid(sizes.radius_um * sizes.area_per_um, sizes.radius_um) == pytest.approx(
            4, rel=1e-3
        )
        assert sizes.radius_um[0] > 3.7
        assert sizes.radius_um[-1] < 4.3

    def test_lognormal_sizes(self):
        mu, sigma, n = np.log(5), 0.3, 20_000
        radius = np.exp(np.random.default_rng(0).normal(mu, sigma, n))
        moments = measure_moments(radius, np.ones(n))
        for name, power in (("number", 0), ("area", 2), ("volume", 3)):
            mean = np.exp(mu + (power + 0.5) * sigma**2)
            assert getattr(moments, f"{name}_mean_um") == pytest.approx(mean, rel=0.01)
            std = mean * np.sqrt(np.expm1(sigma**2))
            assert getattr(moments, f"{name}_std_um") == pytest.approx(std, rel=0.05)
        sizes = estimate_sizes(radius, np.ones(n), 200)
        for name, power in (("number", 0), ("area", 2), ("volume", 3)):
            density = getattr(sizes, f"{name}_per_um")
            centre = mu + power * sigma**2
            true = np.exp(-((np.log(sizes.radius_um) - centre) ** 2) / (2 * sigma**2))
            true /= sizes.radius_um * sigma * np.sqrt(2 * np.pi)
            assert np.trapezoid(density, sizes.radius_um) == pytest.approx(1)
            assert np.trapezoid(np.abs(density - true), sizes.radius_um) < 0.06

    def test_smoothing_keeps_mean_and_spread(self):
        radius = np.random.default_rng(1).uniform(2, 9, 25)
        sizes = estimate_sizes(radius, np.ones(25), 2000)
        mean = np.trapezoid(sizes.radius_um * sizes.area_per_um, sizes.radius_um)
        assert mean == pytest.approx(measure_moments(radius, np.ones(25)).area_mean_um, rel=2e-3)
        log_radius, share = np.log(sizes.radius_um), sizes.area_per_um
        first, second = (
            np.trapezoid(log_radius**n * share, sizes.radius_um) for n in (1, 2)
        )  # fmt: skip
        true = np.cov(np.log(radius), aweights=radius**2, ddof=0)
        assert second - first**2 == pytest.approx(true, rel=0.05)

    def test_weights_stand_for_particles(self):
        radius, weights = np.array([2.0, 5.0]), np.array([3.0, 1.0])
        repeated = np.array([2.0, 2.0, 2.0, 5.0])
        assert measure_moments(radius, weights) == measure_moments(repeated, np.ones(4))

    def test_nothing_and_nonsense(self):
        assert measure_moments(np.zeros(0), np.zeros(0)) is None
        assert estimate_sizes(np.zeros(0), np.zeros(0), 50) is None
        with pytest.raises(TableError, match="radius or weight"):
            estimate_sizes(np.array([1.0, 0.0]), np.ones(2), 50)


def cut_balls(rng, window, layer_um=None, count=60_000):
    """Scatter balls around a window; return the radii of all, complete ones and their boxes."""
    radius = np.exp(rng.normal(np.log(5), 0.25, count))
    low, high = -20.0, np.asarray(window) + 20
    centre = rng.uniform(low, high, (count, 3))
    if layer_um is not None:
        begin, end = layer_um
        centre[:, 0] = begin + radius + rng.uniform(0, 1, count) * (end - begin - 2 * radius)
    start = np.floor((centre - radius[:, None]) / STEP_UM)
    stop = np.ceil((centre + radius[:, None]) / STEP_UM)
    whole = (start >= 1).all(axis=1) & (stop <= np.asarray(window) / STEP_UM - 1).all(axis=1)
    return radius, radius[whole], (stop - start)[whole]


class TestWeights:
    window = (40.0, 60.0, 60.0)

    def make(self, share=0.5, axis=None):
        cells = SimpleNamespace(
            edge_vx=(EDGE,) * 3, valid=np.ones((100, 150, 150), np.int8),
            filled=np.broadcast_to(np.asarray(share).reshape(-1, 1, 1), (100, 150, 150)),
        )  # fmt: skip
        return make_measurement(cells, axis)

    def test_sizes_of_cut_balls_are_unbiased(self):
        radius, seen, boxes = cut_balls(np.random.default_rng(0), self.window)
        true = measure_moments(radius, np.ones(len(radius)))
        plain = measure_moments(seen, np.ones(len(seen)))
        weights = weigh_whole_particles(self.make(), boxes, None)
        fair = measure_moments(seen, weights)
        assert (weights >= 1).all()
        assert plain.number_mean_um < 0.97 * true.number_mean_um
        assert fair.number_mean_um == pytest.approx(true.number_mean_um, rel=0.01)
        assert fair.area_mean_um == pytest.approx(true.area_mean_um, rel=0.02)
        assert fair.volume_mean_um == pytest.approx(true.volume_mean_um, rel=0.03)

    def test_a_layer_that_ends_inside_cuts_nothing(self):
        share = np.zeros(100)
        share[10:90] = 0.5
        measurement = self.make(share, "-z")
        layer = find_layer(measurement)
        radius, seen, boxes = cut_balls(np.random.default_rng(1), self.window, (4.0, 36.0))
        true = measure_moments(radius, np.ones(len(radius)))
        fair = measure_moments(seen, weigh_whole_particles(measurement, boxes, layer))
        assert layer.complete
        assert fair.number_mean_um == pytest.approx(true.number_mean_um, rel=0.01)
        assert fair.volume_mean_um == pytest.approx(true.volume_mean_um, rel=0.03)

    def test_a_view_narrows_the_window(self):
        measurement = make_measurement(fill_cells(np.full(20, 0.5), across=20))
        box = np.array([[10.0, 10.0, 10.0]])
        wide = weigh_whole_particles(measurement, box, None)
        measurement.cells.valid[:5] = 0
        narrow = weigh_whole_particles(measurement, box, None)
        assert wide == pytest.approx((80 / 69) ** 3)
        assert narrow == pytest.approx((80 / 69) ** 2 * 60 / 49)


class TestDescribe:
    def test_balls_of_one_size(self):
        electrode = describe_balls(np.full(30, 1.0))
        assert electrode.active_fraction == pytest.approx(0.5)
        assert electrode.void_and_binder_fraction == pytest.approx(0.5)
        assert electrode.porosity is None
        assert electrode.coordination == pytest.approx(2)
        surfaces = electrode.surfaces
        assert surfaces.outer_per_um == pytest.approx(3 * 0.5 / 1.0, rel=1e-3)
        assert surfaces.total_per_um == pytest.approx(1.5 * surfaces.outer_per_um)
        assert surfaces.crack_per_outer == pytest.approx(0.5)
        assert surfaces.contact_fraction == pytest.approx(0.2)

    def test_cracks_are_not_active(self):
        electrode = describe_balls(np.full(5, 1.0), damage=0.1, solid_share=0.9)
        assert electrode.active_fraction == pytest.approx(0.45, rel=1e-3)
        assert electrode.surfaces.damage == pytest.approx(0.1)
        assert electrode.surfaces.crack_width_um == pytest.approx(0.3)

    def test_porosity_needs_the_inactive_solid(self):
        electrode = describe_balls([1.0], params=ElectrodeParams(inactive_solid_fraction=0.15))
        assert electrode.porosity == pytest.approx(0.35)
        with pytest.raises(SettingsError, match="inactive_solid_fraction"):
            describe_balls([1.0], params=ElectrodeParams(inactive_solid_fraction=0.6))

    def test_sizes_come_from_whole_particles(self):
        electrode = describe_balls([1.0, 1.0, 9.0], border=[False, False, True])
        assert (electrode.particles, electrode.whole_particles) == (3, 2)
        assert electrode.radius.max_um == pytest.approx(1)

    def test_no_whole_particle_has_no_size(self):
        electrode = describe_balls([1.0, 2.0], border=[True, True])
        assert electrode.radius is None
        assert electrode.sizes is None
        assert np.isnan(electrode.coordination)
        assert np.isfinite(electrode.surfaces.outer_per_um)

    def test_no_particle_at_all(self):
        electrode = describe_balls([], cells=fill_cells(np.zeros(5)))
        assert electrode.particles == 0
        assert np.isnan(electrode.active_fraction)
        assert np.isnan(electrode.surfaces.outer_per_um)
