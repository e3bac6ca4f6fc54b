"""Doubtful particles are those beyond the limits, ranked by disagreement."""

from __future__ import annotations

import pandas as pd
import pytest

from ncm_kedro.errors import TableError
from ncm_kedro.params.tomo_segment import TomoReviewParams
from ncm_kedro.tomo.review.review import rank_suspects

PARAMS = TomoReviewParams(min_probability=0.4)


def table(**columns):
    count = max(len(values) for values in columns.values())
    sound = {
        "particle_id": list(range(1, count + 1)), "z_um": [1.0] * count, "y_um": [2.0] * count,
        "x_um": [3.0] * count, "equivalent_diameter_um": [5.0] * count,
        "touches_border": [False] * count, "probability": [0.8] * count,
        "disagreement": [0.05] * count,
    }  # fmt: skip
    return pd.DataFrame({**sound, **columns})


def test_sound_particles_are_not_listed():
    assert rank_suspects(table(probability=[0.8] * 4), PARAMS).empty


def test_order_is_by_disagreement():
    ranked = rank_suspects(table(disagreement=[0.4, 0.1, 0.9, 0.5]), PARAMS)
    assert ranked["particle_id"].tolist() == [3, 4, 1]
    assert ranked["rank"].tolist() == [1, 2, 3]
    assert ranked["doubt"].tolist() == pytest.approx([3.0, 5 / 3, 4 / 3])
    assert set(ranked["reasons"]) == {"the directions disagree"}


def test_every_reason_is_named():
    ranked = rank_suspects(
        table(
            probability=[0.2, 0.8, 0.8, 0.8, 0.8, 0.8],
            equivalent_diameter_um=[5.0, 20.0, 1.0, 5.0, 1.0, 5.0],
            neck_uncertainty=[0.0, 0.0, 0.0, 0.9, 0.0, 0.0],
            touches_border=[False, False, False, False, True, False],
        ),
        PARAMS,
    ).set_index("particle_id")["reasons"]
    assert ranked.to_dict() == {
        1: "low probability",
        2: "much larger than the others",
        3: "much smaller than the others",
        4: "joined or parted at a suspect neck",
    }


def test_further_reasons_raise_the_rank():
    ranked = rank_suspects(table(disagreement=[0.35, 0.32], probability=[0.8, 0.2]), PARAMS)
    assert ranked["particle_id"].tolist() == [2, 1]
    assert ranked["reasons"].iloc[0] == "the directions disagree; low probability"


def test_list_is_cut_and_a_missing_column_is_named():
    many = table(disagreement=[0.9] * 20)
    assert len(rank_suspects(many, TomoReviewParams(max_listed=7))) == 7
    with pytest.raises(TableError, match="disagreement"):
        rank_suspects(many.drop(columns="disagreement"), PARAMS)


def test_an_empty_list_gives_an_empty_list():
    assert rank_suspects(table(disagreement=[0.1]).iloc[:0], PARAMS).empty
