"""The particle model, and whether drawn particles follow it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from ncm_kedro.params.synthesise import AdditiveParams, SynthesiseSemParams
from ncm_kedro.synthetic.sem.canvas import render_canvas
from ncm_kedro.synthetic.sem.particles import (
    choose_law,
    derive_law,
    measure_nickel_fraction,
    mix_laws,
)


def test_more_nickel_means_smaller_particles_and_811_is_smallest() -> None:
    medians = [
        derive_law(measure_nickel_fraction(c), 0.0).median_diameter_um
        for c in ("333", "523", "622", "811")
    ]
    assert measure_nickel_fraction("811") == pytest.approx(0.8)
    assert medians == sorted(medians, reverse=True)
    assert medians[0] > 1.8 * medians[-1]


@pytest.mark.parametrize(
    "name", ["cracked_fraction", "crack_width_um", "pulverised_fraction", "roughness"]
)
def test_damage_grows_from_pristine_over_formation_to_cycled(name: str) -> None:
    params = SynthesiseSemParams()
    values = [getattr(choose_law(params, "622", state), name) for state in params.states]
    assert values[0] < values[1] < values[2]


def test_no_signal_means_one_law_and_full_signal_each_its_own() -> None:
    off, on = SynthesiseSemParams(class_signal=0.0), SynthesiseSemParams(class_signal=1.0)
    classes = [(c, s) for c in off.compositions for s in off.states]
    assert len({choose_law(off, *each) for each in classes}) == 1
    assert len({choose_law(on, *each) for each in classes}) == 12
    assert choose_law(on, "811", "cycled") == derive_law(0.8, 1.0)
    none, half, own = (
        choose_law(SynthesiseSemParams(class_signal=signal), "811", "pristine")
        for signal in (0.0, 0.5, 1.0)
    )
    assert asdict(half) == pytest.approx(asdict(mix_laws([own, none])))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_an_additive_scales_the_signal_of_ageing_and_roughens(share: float) -> None:
    params = SynthesiseSemParams()
    additive = AdditiveParams(name="A", ageing_signal=share, boundary_jitter=0.03)
    pristine, cycled = (asdict(choose_law(params, "811", s)) for s in ("pristine", "cycled"))
    found = asdict(choose_law(params, "811", "cycled", additive))
    expected = {name: pristine[name] + share * (cycled[name] - pristine[name]) for name in found}
    expected["roughness"] += 0.03
    assert found == pytest.approx(expected)


def test_canvases_differ_in_diameters_but_not_in_the_grey_law() -> None:
    means, quantiles = [], []
    for composition, damage in (("333", 0.0), ("523", 0.0), ("622", 0.0), ("811", 1.0)):
        law = derive_law(measure_nickel_fraction(composition), damage)
        canvas = render_canvas((256, 320), law, 0.4, 0.8, np.random.default_rng(3))
        means.append(canvas.diameters_um.mean())
        assert canvas.signal_yx.mean() == pytest.approx(0, abs=1e-3)
        assert canvas.signal_yx.std() == pytest.approx(1, abs=1e-3)
        quantiles.append(np.quantile(canvas.signal_yx, [0.05, 0.25, 0.5, 0.75, 0.95]))
    assert means == sorted(means, reverse=True)
    np.testing.assert_allclose(quantiles[0], quantiles[-1], atol=0.03)
