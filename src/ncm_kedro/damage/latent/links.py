"""Latent dimensions, what they decode to, and the links in either (Figs. S9, S10, Li et al. 2022).

The latent dimensions are those of one network for all samples, so that a dimension is the same in
each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.damage.grouping import take_values
from ncm_kedro.damage.latent.autoencoder import Autoencoder, measure_significance
from ncm_kedro.damage.latent.correlation import correlate_columns, find_p_values
from ncm_kedro.params.damage_attribution import LinkParams
from ncm_kedro.particles.statistics import adjust_discoveries

FloatArray = NDArray[np.float64]

LATENT_COLUMNS = ("latent", "rise", "share", "kept")
DECODED_COLUMNS = ("attribute", "variance_reconstructed", "rank")
LINK_COLUMNS = (
    "sample", "first", "second", "particles", "r", "r_raw", "p_value", "q_value", "shown", "common",
)  # fmt: skip

DECODED_CAVEAT = (
    "Decoded attributes lie on a surface of as many dimensions as the latent space has; their "
    "correlations are larger than those of the attributes as measured (r_raw), and their p-values "
    "too small."
)
LATENT_CAVEAT = (
    "The sign of a latent dimension carries no meaning; that of a link turns with either end's. "
    "The p-values take particles as independent of each other, which neighbours are not."
)

_IDENTITY = ["sample", "particle_id"]


def rank_latents(autoencoder: Autoencoder, rows: pd.DataFrame, params: LinkParams) -> pd.DataFrame:
    """Rank the latent dimensions by their significance and mark those to retain.

    A dimension's significance is the rise of the reconstruction error when it is held at its
    mean. The first ones that together hold ``retained_share`` of all rises are retained.

    Parameters
    ----------
    rows
        A row per particle, all samples together.
    params
        Fraction that is retained.

    Returns
    -------
    DataFrame
        `LATENT_COLUMNS`, the most significant first; ``rise`` in standardised squared units per
        value, ``share`` of the sum of rises.
    """
    rise = measure_significance(autoencoder, take_values(rows, autoencoder.names))
    order = np.argsort(-rise, kind="stable")
    total = float(rise.sum())
    share = rise[order] / total if total > 0 else np.zeros(len(rise))
    before = np.cumsum(share) - share
    return pd.DataFrame(
        {
            "latent": [autoencoder.latent_names[place] for place in order],
            "rise": rise[order],
            "share": share,
            "kept": (before < params.retained_share - 1e-12) & (share > 0),
        }
    )


def encode_latents(autoencoder: Autoencoder, rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``sample, particle_id`` and the latent values of every particle."""
    latents = autoencoder.encode(take_values(rows, autoencoder.names))
    return _join(rows, latents, autoencoder.latent_names)


def decode_attributes(
    autoencoder: Autoencoder, rows: pd.DataFrame, ranking: pd.DataFrame
) -> pd.DataFrame:
    """Return ``sample, particle_id`` and the attributes decoded from the retained dimensions.

    The others are held at their mean over all rows.

    Parameters
    ----------
    ranking
        What `rank_latents` returned.
    """
    latents = autoencoder.encode(take_values(rows, autoencoder.names))
    kept = set(ranking.loc[ranking["kept"], "latent"])
    for place, name in enumerate(autoencoder.latent_names):
        if name not in kept:
            latents[:, place] = latents[:, place].mean()
    return _join(rows, autoencoder.decode(latents), autoencoder.names)


def rank_decoded(rows: pd.DataFrame, decoded: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Rank attributes by the fraction of their variance that was reconstructed.

    Parameters
    ----------
    rows, decoded
        Attributes as measured and as decoded, the same particles in the same order.

    Returns
    -------
    DataFrame
        `DECODED_COLUMNS`, the best reconstructed first; 1 is all of the variance.
    """
    raw, back = take_values(rows, names), decoded[list(names)].to_numpy(dtype=np.float64)
    share = 1.0 - ((raw - back) ** 2).mean(axis=0) / raw.var(axis=0)
    order = np.argsort(-share, kind="stable")
    return pd.DataFrame(
        {
            "attribute": [names[place] for place in order],
            "variance_reconstructed": share[order],
            "rank": np.arange(1, len(order) + 1),
        }
    )


def list_links(
    values: pd.DataFrame,
    names: Sequence[str],
    params: LinkParams,
    *,
    raw: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Correlate every two columns in each sample, and mark the links.

    Correlations of decoded attributes are exaggerated: they all follow from fewer latent
    dimensions than there are attributes. Compare them with those of the attributes as measured.

    Parameters
    ----------
    values
        ``sample`` and the columns: latent values, or decoded attributes.
    raw
        Attributes as measured, the same particles in the same order; null for latent values.

    Returns
    -------
    DataFrame
        `LINK_COLUMNS`, a row per sample and pair: Pearson's ``r``, and ``r_raw`` of the attributes
        as measured; p-value and false-discovery rate over the pairs of the sample; ``shown`` where
        ``|r| >= min_correlation`` and the rate is ``max_q`` at most; ``common`` where shown with
        the same sign in all of two or more samples. ``attrs["caveat"]`` holds the caveat.
    """
    samples = values["sample"].to_numpy()
    measured = None if raw is None else take_values(raw, names)
    columns = values[list(names)].to_numpy(dtype=np.float64)
    parts = []
    for sample in pd.unique(samples):
        own = samples == sample
        part = _list_pairs(columns[own], names, params)
        part["r_raw"] = np.nan if measured is None else _take_pairs(measured[own])
        parts.append(part.assign(sample=str(sample)))
    links = pd.concat(parts, ignore_index=True)
    links["common"] = _find_common(links, len(parts))
    links = links[list(LINK_COLUMNS)]
    links.attrs["caveat"] = LATENT_CAVEAT if raw is None else DECODED_CAVEAT
    return links


def _join(rows: pd.DataFrame, values: FloatArray, names: Sequence[str]) -> pd.DataFrame:
    identity = rows[_IDENTITY].reset_index(drop=True)
    return pd.concat([identity, pd.DataFrame(values, columns=list(names))], axis=1)


def _take_pairs(values: FloatArray) -> FloatArray:
    """Correlations of the pairs above the diagonal, row by row."""
    return correlate_columns(values)[np.triu_indices(values.shape[1], k=1)]


def _list_pairs(values: FloatArray, names: Sequence[str], params: LinkParams) -> pd.DataFrame:
    r = _take_pairs(values)
    p_values = find_p_values(r, len(values))
    q_values = adjust_discoveries(p_values)
    pairs = list(combinations(names, 2))
    return pd.DataFrame(
        {
            "first": [first for first, _ in pairs],
            "second": [second for _, second in pairs],
            "particles": len(values), "r": r, "p_value": p_values, "q_value": q_values,
            "shown": (np.abs(r) >= params.min_correlation) & (q_values <= params.max_q),
        }
    )  # fmt: skip


def _find_common(links: pd.DataFrame, samples: int) -> NDArray[np.bool_]:
    signs = np.where(links["shown"], np.sign(links["r"].to_numpy()), 0.0)
    total = pd.Series(signs).groupby([links["first"], links["second"]]).transform("sum")
    common: NDArray[np.bool_] = (np.abs(total.to_numpy()) == samples) & (samples > 1)
    return common
