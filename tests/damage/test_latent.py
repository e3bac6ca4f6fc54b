"""Significance, decoded attributes and links of simulated structure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ncm_kedro.damage.latent.autoencoder import fit_autoencoder
from ncm_kedro.damage.latent.links import (
    DECODED_CAVEAT,
    LATENT_CAVEAT,
    LINK_COLUMNS,
    decode_attributes,
    encode_latents,
    list_links,
    rank_decoded,
    rank_latents,
)
from ncm_kedro.params.damage_attribution import AutoencoderParams, LinkParams

PARAMS = LinkParams()
NAMES = ["a", "b", "c", "d"]


def draw_sample(sample, matrix, count=400, seed=0):
    """Rows whose correlations are the matrix exactly."""
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(count, len(matrix)))
    white -= white.mean(axis=0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white.T, bias=True))).T
    values = white @ np.linalg.cholesky(np.array(matrix)).T
    table = pd.DataFrame(values, columns=NAMES[: len(matrix)])
    table.insert(0, "sample", sample)
    table.insert(1, "particle_id", np.arange(count))
    return table


def correlate(ab, cd, ac=0.0):
    return [[1, ab, ac, 0], [ab, 1, 0, 0], [ac, 0, 1, cd], [0, 0, cd, 1]]


def find(links, sample, first, second):
    own = links.set_index(["sample", "first", "second"])
    return own.loc[(sample, first, second)]


def test_planted_links_are_found_with_what_samples_share():
    rows = pd.concat([
        draw_sample("cyc10", correlate(0.6, 0.5, ac=0.4)),
        draw_sample("cyc50", correlate(0.7, -0.5), seed=1),
    ], ignore_index=True)  # fmt: skip
    links = list_links(rows, NAMES, PARAMS)
    assert tuple(links.columns) == LINK_COLUMNS
    assert len(links) == 2 * 6
    assert links.loc[links["shown"], ["sample", "first", "second"]].to_numpy().tolist() == [
        ["cyc10", "a", "b"], ["cyc10", "a", "c"], ["cyc10", "c", "d"],
        ["cyc50", "a", "b"], ["cyc50", "c", "d"],
    ]  # fmt: skip
    assert find(links, "cyc10", "a", "b")["r"] == pytest.approx(0.6)
    assert find(links, "cyc50", "c", "d")["r"] == pytest.approx(-0.5)
    assert links.loc[links["common"], ["first", "second"]].to_numpy().tolist() == [["a", "b"]] * 2
    assert links["r_raw"].isna().all()
    assert links.attrs["caveat"] == LATENT_CAVEAT


def test_p_and_q_values_match_scipy():
    rows = draw_sample("s", correlate(0.2, 0.1), count=50)
    links = list_links(rows, NAMES, PARAMS)
    expected = [stats.pearsonr(rows[f], rows[s]).pvalue
                for f, s in zip(links["first"], links["second"], strict=True)]  # fmt: skip
    np.testing.assert_allclose(links["p_value"], expected, rtol=1e-9)
    np.testing.assert_allclose(links["q_value"], stats.false_discovery_control(expected))


def test_one_sample_shares_nothing_and_a_flat_column_has_no_correlation():
    rows = draw_sample("s", correlate(0.6, 0.5)).assign(d=3.3)
    links = list_links(rows, NAMES, PARAMS)
    assert not links["common"].any()
    flat = links[links["second"] == "d"]
    assert flat[["r", "p_value", "q_value"]].isna().all(axis=None)
    assert not flat["shown"].any()
    assert find(links, "s", "a", "b")["shown"]


def test_three_rows_make_no_link_however_strong():
    rows = draw_sample("s", correlate(0.6, 0.5), count=400).head(3)
    links = list_links(rows, NAMES, PARAMS)
    assert links["r"].abs().max() > 0.9
    assert not links["shown"].any()


@pytest.fixture(scope="module")
def network():
    """Eight attributes that follow from two numbers, one of them weakly."""
    rng = np.random.default_rng(0)
    strong, weak = rng.normal(size=(2, 500))
    columns = {f"s{n}": strong + 0.3 * rng.normal(size=500) for n in range(6)}
    columns |= {f"w{n}": weak + 0.3 * rng.normal(size=500) for n in range(2)}
    rows = pd.DataFrame({"sample": "s", "particle_id": np.arange(500), **columns})
    names = list(columns)
    params = AutoencoderParams(steps=600, repeats=2)
    return rows, names, fit_autoencoder(rows, names, 2, params)


def test_latents_are_kept_until_their_share_is_reached(network):
    rows, _, fitted = network
    ranking = rank_latents(fitted, rows, LinkParams(retained_share=0.95))
    assert ranking["share"].sum() == pytest.approx(1)
    assert ranking["kept"].tolist() == [True, True]
    first = float(ranking["share"].iloc[0])
    assert first > 0.6
    less = rank_latents(fitted, rows, LinkParams(retained_share=first))
    assert less["kept"].tolist() == [True, False]


def test_decoding_without_a_dimension_loses_its_attributes(network):
    rows, names, fitted = network
    ranking = rank_latents(fitted, rows, PARAMS)
    both = decode_attributes(fitted, rows, ranking)
    assert both.columns.tolist() == ["sample", "particle_id", *names]
    explained = rank_decoded(rows, both, names).set_index("attribute")["variance_reconstructed"]
    assert (explained[names] > 0.85).all()
    latents = encode_latents(fitted, rows)
    one = decode_attributes(fitted, rows, ranking.assign(kept=[True, False]))
    lost = rank_decoded(rows, one, names)
    carried = latents[["LD1", "LD2"]].corrwith(rows["w0"]).abs()
    if carried["LD2"] > 0.9:  # the weak number has a dimension of its own
        assert set(lost["attribute"].tail(2)) == {"w0", "w1"}
    assert lost["variance_reconstructed"].sum() < explained.sum() - 1
    assert lost["rank"].tolist() == list(range(1, 9))


def test_decoded_correlations_are_exaggerated_and_say_so(network):
    rows, names, fitted = network
    decoded = decode_attributes(fitted, rows, rank_latents(fitted, rows, PARAMS))
    links = list_links(decoded, names, PARAMS, raw=rows)
    pair = find(links, "s", "s0", "s1")
    assert pair["r_raw"] == pytest.approx(np.corrcoef(rows["s0"], rows["s1"])[0, 1])
    assert pair["r"] > pair["r_raw"] + 0.03
    assert links.attrs["caveat"] == DECODED_CAVEAT
