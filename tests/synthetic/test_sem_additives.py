"""Additives weaken the signal of ageing and roughen boundaries, as simulated."""

from dataclasses import asdict

import numpy as np
import pytest
from pydantic import ValidationError

from ncm_kedro.params.synthesise import AdditiveParams, SynthesiseSemParams
from ncm_kedro.synthetic.sem.frames import iter_sem_frames
from ncm_kedro.synthetic.sem.particles import choose_law
from ncm_kedro.synthetic.sem.plan import plan_series

SMALL = {
    "compositions": ("811",),
    "states": ("pristine", "formation", "cycled"),
    "frames_per_class": 1,
    "series_per_class": 1,
    "width_px": 320,
    "height_px": 256,
    "special_cases": False,
}
HIDING = AdditiveParams(name="VC2PS1", ageing_signal=0.0, boundary_jitter=0.03)


def make_params(*additives):
    return SynthesiseSemParams(**SMALL, additives=additives or (AdditiveParams(),))


def test_without_signal_an_aged_electrode_has_the_pristine_law_but_rougher():
    params = make_params(HIDING)
    hidden = asdict(choose_law(params, "811", "cycled", HIDING))
    pristine = asdict(choose_law(params, "811", "pristine"))
    assert hidden.pop("roughness") == pytest.approx(pristine.pop("roughness") + 0.03)
    assert hidden == pytest.approx(pristine)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_the_signal_of_ageing_is_shared_out_in_proportion(share):
    params = make_params()
    additive = AdditiveParams(name="A", ageing_signal=share)
    pristine, cycled = (choose_law(params, "811", state) for state in ("pristine", "cycled"))
    law = choose_law(params, "811", "cycled", additive)
    full = cycled.cracked_fraction - pristine.cracked_fraction
    assert law.cracked_fraction - pristine.cracked_fraction == pytest.approx(share * full)
    assert law.median_diameter_um == pristine.median_diameter_um


def test_folders_and_truth_name_the_additive():
    params = make_params(AdditiveParams(), HIDING)
    frames = {frame.truth["class"]: frame for frame in iter_sem_frames(params)}
    assert list(frames) == [
        "811", "811__VC2PS1", "811_formation", "811_formation__VC2PS1", "811_cycled",
        "811_cycled__VC2PS1",
    ]  # fmt: skip
    truth = frames["811_cycled__VC2PS1"].truth
    assert (truth["additive"], truth["state"]) == ("VC2PS1", "cycled")
    assert (truth["ageing_signal"], truth["boundary_jitter"]) == (0.0, 0.03)
    assert frames["811_cycled"].truth["ageing_signal"] == 1.0
    assert frames["811_cycled__VC2PS1"].file.startswith("811_cycled__VC2PS1/")


def test_without_additives_nothing_changes():
    plain = SynthesiseSemParams(**SMALL)
    assert plan_series(plain) == plan_series(make_params(AdditiveParams(ageing_signal=1.0)))
    one, other = (next(iter(iter_sem_frames(p))) for p in (plain, make_params()))
    np.testing.assert_array_equal(one.image_yx, other.image_yx)


def test_a_name_is_given_once():
    with pytest.raises(ValidationError, match="repeat no name"):
        make_params(AdditiveParams(name="A"), AdditiveParams(name="A", ageing_signal=0.5))
