"""A map that follows the weights passes the check; one that does not is found out."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import spearmanr

from ncm_kedro.learning.explain.gradcam import (
    compare_cascade,
    correlate_ranks,
    explain_crops,
    iterate_shuffled,
    shuffle_all,
)
from ncm_kedro.learning.explain.maps import TRAINED
from ncm_kedro.learning.models.pooled import TextureNet


@pytest.fixture
def network():
    torch.manual_seed(0)
    return TextureNet(2, widths=(4, 6, 8), depths=(1, 1, 1)).eval()


@pytest.fixture
def images():
    noise = np.random.default_rng(1).normal(size=(3, 64, 64))
    return ndimage.gaussian_filter(noise, (0, 1.5, 1.5)).astype(np.float32)


def test_layers_are_shuffled_from_the_last_down_and_the_network_is_kept(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    names, changed = [], []
    for name, shuffled in iterate_shuffled(network, seed=0):
        names.append(name)
        now = shuffled.state_dict()
        changed.append({key.split(".")[0] for key in before if not before[key].equal(now[key])})
        for key, value in now.items():
            torch.testing.assert_close(value.flatten().sort()[0], before[key].flatten().sort()[0])
    assert names == ["classifier", "norm", "stages.2", "stages.1", "stages.0", "stem.1", "stem.0"]
    assert changed[0] == {"classifier"}
    assert "stem" in changed[-1]
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_the_same_seed_shuffles_alike(network):
    one, other, third = (shuffle_all(network, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(one[key].equal(other[key]) for key in one)
    assert not all(one[key].equal(third[key]) for key in one)


def test_maps_of_a_network_change_and_those_of_an_edge_detector_do_not(network, images):
    edges = ndimage.gaussian_gradient_magnitude(images, (0, 1, 1)).astype(np.float32)

    def explain(present):
        maps = explain_crops(present, images, [0, 1, 0], device="cpu")
        return {"grad_cam": maps.grad_cam_nyx, "edges": edges}

    steps = compare_cascade(network, explain, seed=0)
    last = steps[-1].correlations
    np.testing.assert_allclose(last["edges"], 1.0)
    assert np.nan_to_num(last["grad_cam"]).mean() < 0.5
    assert steps[0].first_yx["edges"].shape == (64, 64)
    assert [step.layer for step in steps] == [
        TRAINED, *(name for name, _ in iterate_shuffled(network, seed=0))
    ]  # fmt: skip


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(2)
    one, other = rng.integers(0, 9, (2, 30, 30)).astype(np.float32)
    assert correlate_ranks(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel())[0])
    assert correlate_ranks(one, np.exp(one)) == pytest.approx(1.0)
    assert np.isnan(correlate_ranks(one, np.zeros_like(one)))
