"""The auto-encoder's loss, masks and batches have known values; so have simulated dimensions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from ncm_kedro.damage.latent.autoencoder import Autoencoder, fit_autoencoder, measure_significance
from ncm_kedro.damage.latent.autoencoder_batch import (
    LAYERS,
    NetworkPlan,
    decode_rows,
    encode_rows,
    mask_dimensions,
    measure_errors,
    measure_sparsity,
    start_weights,
    sum_squared_weights,
    train_networks,
)
from ncm_kedro.damage.latent.dimension_search import (
    ERROR_COLUMNS,
    choose_dimensions,
    measure_masked_errors,
    search_dimensions,
)
from ncm_kedro.errors import TableError
from ncm_kedro.params.damage_attribution import AutoencoderParams

SMALL = AutoencoderParams(max_dimensions=3, repeats=2, steps=60, hidden=8)


def tabulate(values):
    return pd.DataFrame(values, columns=[f"a{n}" for n in range(values.shape[1])])


def draw_linear(count=600, rank=3, columns=10, noise=0.1, seed=0):
    """Rows of a simulated rank, each column of variance 1 + noise^2 at about."""
    rng = np.random.default_rng(seed)
    loads = rng.normal(size=(rank, columns)) / math.sqrt(rank)
    loads /= np.linalg.norm(loads, axis=0)
    return tabulate(
        rng.normal(size=(count, rank)) @ loads + noise * rng.normal(size=(count, columns))
    )


def draw_manifold(count=1200, noise=0.05, seed=0):
    """Rows on a curved 3D surface in 18 dimensions, and the noise fraction of their variance."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(-1, 1, (count, 3))
    clean = np.tanh(place @ rng.normal(size=(3, 18))) + np.sin(place @ rng.normal(size=(3, 18)))
    clean /= clean.std(axis=0)
    return tabulate(clean + noise * rng.normal(size=clean.shape)), noise**2 / (1 + noise**2)


@pytest.fixture(scope="module")
def batch():
    """Four networks on two splits of standardised rows."""
    rng = np.random.default_rng(1)
    train = torch.from_numpy(rng.normal(size=(2, 90, 5))).float()
    stop = torch.from_numpy(rng.normal(size=(2, 12, 5))).float()
    plans = [
        NetworkPlan(d, split, regularised, start=split)
        for d, split, regularised in ((1, 0, True), (3, 1, True), (2, 0, False), (3, 1, False))
    ]
    return plans, train, stop


def test_penalties_match_numbers_by_hand():
    weights = {f"{layer}_weight": torch.full((2, 2, 2), 0.5) for layer in LAYERS}
    weights["encoder_in_weight"][1] = 3.0
    # Half of 16 weights of 0.25; then half of 12 of 0.25 and 4 of 9.
    torch.testing.assert_close(sum_squared_weights(weights), torch.tensor([2.0, 19.5]))
    z = torch.tensor([[[0.1, 0.9], [0.3, 0.9]]])
    by_hand = [
        0.05 * math.log(0.05 / mean) + 0.95 * math.log(0.95 / (1 - mean)) for mean in (0.2, 0.9)
    ]
    both, first = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert measure_sparsity(z, both, 0.05).item() == pytest.approx(sum(by_hand), rel=1e-5)
    assert measure_sparsity(z, first, 0.05).item() == pytest.approx(by_hand[0], rel=1e-5)
    at_target = torch.full((1, 4, 1), 0.05)
    assert measure_sparsity(at_target, torch.ones(1, 1, 1), 0.05).item() == pytest.approx(0)


def test_masks_cut_latents_and_their_weights(batch):
    plans, train, stop = batch
    weights = train_networks(plans, train, stop, SMALL)
    mask = mask_dimensions(plans, "cpu")
    assert mask[:, 0].tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0], [1, 1, 1]]
    z = encode_rows(weights, train[[plan.split for plan in plans]], mask)
    assert not z[0, :, 1:].any()
    assert z[1].all()
    assert not weights["encoder_out_weight"][0, :, 1:].any()
    assert not weights["decoder_in_weight"][0, 1:].any()


def test_a_network_of_a_batch_is_the_network_alone(batch):
    plans, train, stop = batch
    together = train_networks(plans, train, stop, SMALL)
    for place, plan in enumerate(plans):
        alone = train_networks([plan], train, stop, SMALL)
        d = plan.dimensions
        x = train[[plan.split]]
        mask = mask_dimensions([plan], "cpu")
        one = {name: w[[place]] for name, w in together.items()}
        one["encoder_out_weight"] = one["encoder_out_weight"][..., :d]
        one["encoder_out_bias"] = one["encoder_out_bias"][..., :d]
        one["decoder_in_weight"] = one["decoder_in_weight"][:, :d]
        torch.testing.assert_close(
            decode_rows(one, encode_rows(one, x, mask)),
            decode_rows(alone, encode_rows(alone, x, mask)),
            atol=2e-3, rtol=0,
        )  # fmt: skip


def test_regularisation_shrinks_weights_and_activations(batch):
    _, train, stop = batch
    plans = [NetworkPlan(3, 0, regularised, start=0) for regularised in (True, False)]
    strong = SMALL.model_copy(update={"l2_weight": 0.05, "sparsity_weight": 1.0, "steps": 200})
    weights = train_networks(plans, train[:1], stop[:1], strong)
    regularised, plain = sum_squared_weights(weights).tolist()
    assert regularised < 0.7 * plain


def test_training_never_ends_worse_than_it_starts_on_stopping_rows(batch):
    plans, train, stop = batch
    splits, mask = torch.tensor([p.split for p in plans]), mask_dimensions(plans, "cpu")
    first = measure_errors(start_weights(plans, 5, SMALL.hidden, SMALL.seed), stop, splits, mask)
    trained = measure_errors(train_networks(plans, train, stop, SMALL), stop, splits, mask)
    assert (trained <= first).all()
    assert (trained[1:] < 0.5 * first[1:]).all()


def test_hidden_values_are_predicted_as_by_least_squares():
    """Projection on a known axis: the missing entry has a closed form."""
    axis = torch.tensor([0.6, 0.64, 0.48])
    x = torch.tensor([[[1.0, 2.0, -1.0], [0.5, 0.0, 1.0]]])
    projector = torch.outer(axis, axis)
    found = measure_masked_errors(lambda rows: rows @ projector, x)
    expected = []
    for row in x[0]:
        for k in range(3):
            rest = [n for n in range(3) if n != k]
            exact = float(axis[k] * (axis[rest] @ row[rest]) / (1 - axis[k] ** 2))
            filled = exact * (1 - float(axis[k] ** 2) ** 10)  # a geometric series of ten terms
            expected.append((filled - float(row[k])) ** 2)
    assert found[0] == pytest.approx(np.mean(expected), rel=1e-4)
    copied = measure_masked_errors(lambda rows: rows, x)
    assert copied[0] == pytest.approx(float(x.square().mean()))


def test_components_of_linear_data_end_at_the_noise_and_the_network_comes_near():
    params = AutoencoderParams(max_dimensions=4, repeats=2, steps=600)
    search = search_dimensions(draw_linear(), [f"a{n}" for n in range(10)], params)
    assert tuple(search.errors.columns) == ERROR_COLUMNS
    assert len(search.errors) == 4 * 2 * 3
    mean = search.errors.groupby(["method", "d"])["validation_error"].mean()
    noise = 0.1**2 / (1 + 0.1**2) * 7 / 10  # what is left when 3 of 10 directions are retained
    assert mean["pca", 3] == pytest.approx(noise, rel=0.4)
    assert mean["regularised", 3] < 6 * noise
    assert mean["regularised", 3] < 0.15 * mean["regularised", 2]
    assert search.chosen in (3, 4)


def test_a_curved_surface_of_three_dimensions_is_found():
    rows, noise = draw_manifold()
    params = AutoencoderParams(max_dimensions=4, repeats=2, steps=900)
    search = search_dimensions(rows, list(rows.columns), params)
    mean = search.errors.groupby(["method", "d"])["validation_error"].mean()
    assert search.chosen in (3, 4)
    assert mean["regularised", 3] < noise + 0.03
    assert mean["regularised", 3] < 0.5 * mean["pca", 3]
    assert mean["regularised", 2] > 5 * mean["regularised", 3]


def test_the_one_standard_error_rule():
    errors = pd.DataFrame(
        [
            (d, repeat, "regularised", 0.0, 1.0 / d, hidden + shift)
            for d, hidden in ((1, 0.9), (2, 0.52), (3, 0.5), (4, 0.6))
            for repeat, shift in enumerate((-0.05, 0.05))
        ],
        columns=list(ERROR_COLUMNS),
    )
    assert choose_dimensions(errors) == (2, 4)
    closer = errors.assign(masked_error=errors["masked_error"].where(errors["d"] != 3, 0.5))
    assert choose_dimensions(closer) == (3, 4)


@pytest.fixture(scope="module")
def fitted():
    factors = np.array([1e-3, 1e3, 1.0, 5.0, 0.2, 40.0])  # units must not matter
    rows = draw_linear(300, rank=2, columns=6) * factors + 7.0
    names = list(rows.columns)
    params = AutoencoderParams(steps=500, repeats=2)
    return rows, names, params, fit_autoencoder(rows, names, 3, params)


def test_a_fitted_network_reconstructs_in_units_and_survives_plain_arrays(fitted, tmp_path):
    rows, _, _, network = fitted
    scaled = rows.to_numpy()
    latents = network.encode(scaled)
    assert latents.shape == (300, 3)
    assert latents.min() >= 0
    assert latents.max() <= 1
    back = network.decode(latents)
    assert (((back - scaled) ** 2).mean(axis=0) < 0.2 * scaled.var(axis=0)).all()
    np.savez(tmp_path / "network.npz", **network.to_arrays())
    with np.load(tmp_path / "network.npz") as arrays:
        again = Autoencoder.from_arrays(arrays)
    assert again.names == network.names
    assert again.latent_names == ("LD1", "LD2", "LD3")
    np.testing.assert_array_equal(again.decode(again.encode(scaled)), back)


def test_latents_are_in_order_of_significance(fitted):
    rows, _, _, network = fitted
    rises = measure_significance(network, rows.to_numpy())
    assert (np.diff(rises) <= 0).all()
    latents = network.encode(rows.to_numpy())
    held = latents.copy()
    held[:, 0] = latents[:, 0].mean()
    errors = [
        (((network.decode(z) - rows.to_numpy()) / network.scale_k) ** 2).mean()
        for z in (latents, held)
    ]
    assert rises[0] == pytest.approx(errors[1] - errors[0])


def test_same_seed_same_network_whatever_the_threads(fitted):
    rows, names, params, _ = fitted
    params = params.model_copy(update={"steps": 60})
    network = fit_autoencoder(rows, names, 3, params)
    threads = torch.get_num_threads()
    torch.manual_seed(99)
    try:
        torch.set_num_threads(threads + 1)
        again = fit_autoencoder(rows, names, 3, params)
    finally:
        torch.set_num_threads(threads)
    for name, array in network.to_arrays().items():
        np.testing.assert_array_equal(array, again.to_arrays()[name])
    other = fit_autoencoder(rows, names, 3, params.model_copy(update={"seed": 1}))
    assert not np.array_equal(other.encode(rows.to_numpy()), network.encode(rows.to_numpy()))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop(columns="a1"), "a1"),
        (lambda t: t.assign(a1=2.0), "one value alone in"),
        (lambda t: t.assign(a1=t["a1"].where(t["a1"] > 0)), "undefined values"),
        (lambda t: t.head(19), "19 usable particles"),
        (lambda t: t.head(0), "0 rows"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(spoil, message):
    rows = draw_linear(40, columns=4)
    with pytest.raises(TableError, match=message):
        fit_autoencoder(spoil(rows), list(rows.columns), 2, SMALL)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_choice():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rows = draw_linear()
    params = AutoencoderParams(max_dimensions=4, repeats=2, steps=600)
    search = search_dimensions(rows, list(rows.columns), params, device="cuda")
    assert search.chosen in (3, 4)
