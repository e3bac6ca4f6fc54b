"""What could fool the reader of what goes with damage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ncm_kedro.damage.preparation.groups import list_leaks
from ncm_kedro.damage.preparation.preparation import DamageData
from ncm_kedro.params.damage_attribution import AttributionParams
from ncm_kedro.plotting.damage.axes import get_paper_name
from ncm_kedro.plotting.damage.words import LEAKS_IN, write_interval, write_number

_FEW_PARTICLES = 200
_FEW_BLOCKS = 10
_BORDER_SHARE = 0.5
_USUALLY = 0.5
_BORDER = "touches the border"


def list_data_caveats(data: DamageData) -> list[str]:
    """List what limits the conclusions because of what was used.

    Parameters
    ----------
    data
        Usable particles and what may explain their damage.
    """
    found = [f"{_begin_sentence(note, data.samples)}." for note in data.notes]
    if leaking := [name for name in list_leaks(data.preset) if name in data.inputs]:
        found.append(LEAKS_IN.format(names=", ".join(map(get_paper_name, leaking))))
    counts = data.counts.set_index(["sample", "reason"])["particles"]
    for sample, rows in data.rows.groupby("sample", sort=False):
        blocks = rows["block"].nunique()
        share = counts.get((sample, _BORDER), 0) / counts.get((sample, "all"), len(rows))
        if len(rows) < _FEW_PARTICLES:
            found.append(
                f"{sample}: only {len(rows)} particles are used. Intervals are wide, and weak "
                "drivers are missed: what is not significant is not shown to be without effect."
            )
        if blocks < _FEW_BLOCKS:
            found.append(f"{sample} is cut into {blocks} blocks only: its intervals are rough.")
        if share > _BORDER_SHARE:
            found.append(
                f"{sample}: {share:.0%} of the particles touch the border and are left out. Large "
                "particles are cut more often: what is left is smaller than the electrode's."
            )
    return found


def list_score_caveats(scores: pd.DataFrame) -> list[str]:
    """List the samples that are not explained, and those that a linear model explains better.

    Parameters
    ----------
    scores
        As in `ncm_kedro.damage.attribution.significance.tabulate_scores`.
    """
    found = []
    for sample, rows in scores.groupby("sample", sort=False):
        forest, linear = (rows[rows["model"] == name].iloc[0] for name in ("forest", "linear"))
        if not forest["explains"]:
            found.append(
                f"{sample}: the attributes explain nothing of the damage of particles held out "
                f"(R² {write_interval(forest['r2'], forest['r2_low'], forest['r2_high'])}, "
                f"p = {forest['p_value']:.2g}). No ranking is shown; it would be one of noise."
            )
        if linear["r2_low"] > forest["r2_high"]:
            found.append(
                f"{sample}: a linear model predicts better than the forest "
                f"(R² {write_number(linear['r2'])} against {write_number(forest['r2'])}). The "
                "shares are of what the forest sees: damage "
                "follows the attributes more smoothly than its steps do."
            )
    return found


def list_chance_caveats(
    synchrony: pd.DataFrame, importance: pd.DataFrame, params: AttributionParams
) -> list[str]:
    """List where p-values say less than they seem to.

    Parameters
    ----------
    synchrony
        As in `ncm_kedro.damage.attribution.synchrony.measure_synchrony`.
    importance
        As in `damage.attribution.significance.tabulate_importance`, of the samples explained.
    params
        Numbers of permutations and bootstraps, and level of false discovery.
    """
    own = synchrony[(synchrony["quantity"] == "morans_i") & synchrony["sample_b"].isna()]
    alike = own[(own["p_value"] <= params.false_discovery) & (own["value"] > own["expected"])]
    found = [
        f"{row.sample_a}: neighbours share their damage (Moran's I {row.value:.2f}, "
        f"p = {row.p_value:.2g}). The permutations behind p and q treat particles as "
        "exchangeable, which these are not: p and q are optimistic. Rely on the intervals, which "
        "draw whole blocks."
        for row in alike.itertuples()
    ]
    groups = importance[importance["kind"] == "group"].groupby("sample").size().max()
    needed = int(np.ceil(groups / params.false_discovery))
    found += [
        f"{count} {name} are too few for {groups} groups: a driver that stands alone cannot become "
        f"significant. Set `{name}` to {needed} or more."
        for name, count in (
            ("permutations", params.permutations),
            ("bootstraps", params.bootstraps),
        )
        if count < needed - 1
    ]
    return found


def list_difference_caveats(differences: pd.DataFrame, params: AttributionParams) -> list[str]:
    """Say where bootstraps are too few for a difference to become significant.

    Parameters
    ----------
    differences
        As in `ncm_kedro.damage.attribution.significance.compare_importance`.
    params
        Number of bootstraps and level of false discovery.
    """
    groups = differences["group"].nunique()
    needed = int(np.ceil(2 * groups / params.false_discovery))
    if params.bootstraps >= needed - 1:
        return []
    return [
        f"{params.bootstraps} bootstraps are too few for {groups} groups: a difference that stands "
        f"alone cannot get a q of {params.false_discovery:g} or less. Set `bootstraps` to {needed} "
        "or more."
    ]


def list_floor_caveats(importance: pd.DataFrame) -> list[str]:
    """Name the significant groups whose interval reaches down to the column of noise.

    Parameters
    ----------
    importance
        As in `damage.attribution.significance.tabulate_importance`, of the samples explained.
    """
    found = []
    for sample, rows in importance.groupby("sample", sort=False):
        floor = float(rows.loc[rows["kind"] == "noise", "explained_high"].iloc[0])
        near = rows[rows["significant"].astype(bool) & (rows["explained_low"] <= floor)]
        if len(near):
            found.append(
                f"{sample}: significant, but with an interval that reaches down to that of the "
                f"noise column: {', '.join(near['group'])}."
            )
    return found


def list_rank_caveats(ranks: pd.DataFrame, importance: pd.DataFrame) -> list[str]:
    """Name the first groups that the uncertainty of the segmentation takes their rank from.

    Parameters
    ----------
    ranks
        As in `ncm_kedro.damage.attribution.significance.tabulate_ranks`.
    importance
        As in `damage.attribution.significance.tabulate_importance`, of the samples explained.
    """
    found = []
    for row in importance[importance["rank"] == 1].itertuples():
        own = ranks[(ranks["sample"] == row.sample) & (ranks["group"] == row.group)]
        kept = (own["rank"] == 1).mean()
        if kept < _USUALLY:
            found.append(
                f"{row.sample}: {row.group} stands first as measured, but in {kept:.0%} of the "
                "draws alone when attributes move within their uncertainty."
            )
    return found


def list_residual_caveats(synchrony: pd.DataFrame, false_discovery: float) -> list[str]:
    """Name the samples whose neighbours share even what the attributes do not explain.

    Parameters
    ----------
    synchrony
        As in `ncm_kedro.damage.attribution.synchrony.measure_synchrony`.
    false_discovery
        Highest p-value that counts (no unit).
    """
    own = synchrony[(synchrony["quantity"] == "morans_i_residual") & synchrony["sample_b"].isna()]
    alike = own[(own["p_value"] <= false_discovery) & (own["value"] > own["expected"])]
    return [
        f"{row.sample_a}: neighbours also share what the attributes do not explain (Moran's I of "
        f"the residual {row.value:.2f}, p = {row.p_value:.2g}). Something that acts on "
        "neighbours alike, an error of the image included, is not among the attributes."
        for row in alike.itertuples()
    ]


def _begin_sentence(note: str, samples: Sequence[str]) -> str:
    """Return a note with a capital letter, unless it begins with the name of a sample."""
    return note if note.startswith(tuple(samples)) else f"{note[:1].upper()}{note[1:]}"
