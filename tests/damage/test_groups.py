"""Strongly correlated attributes form one group."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ncm_kedro.damage.grouping import (
    EXACT_GROUPS,
    correlate_ranks,
    group_attributes,
)


def make_rows(**columns):
    count = len(next(iter(columns.values())))
    return pd.DataFrame(columns).assign(sample=np.where(np.arange(count) < count // 2, "a", "b"))


@pytest.fixture
def normal():
    return np.random.default_rng(0).normal(size=(8, 2000))


def test_planted_groups_are_found(normal):
    rows = make_rows(
        volume_um3=np.exp(normal[0]), surface_outer_um2=np.exp(normal[0] + 0.1 * normal[1]),
        elongation=normal[2], contact=normal[3], packing_density=-normal[3] + 0.1 * normal[4],
    )  # fmt: skip
    names = ["contact", "elongation", "volume_um3", "packing_density", "surface_outer_um2"]
    assert group_attributes(rows, names, 0.8, ()) == (
        ("surface_outer_um2", "volume_um3"), ("elongation",), ("contact", "packing_density"),
    )  # fmt: skip


def test_every_pair_of_a_group_is_alike(normal):
    # a chain: z is like its neighbours (0.87), its neighbours not like each other (0.5)
    left, right = normal[0], normal[1]
    rows = make_rows(contact=left + 0.15 * right, elongation=(left + right) / 1.4, z_um=right)
    names = ["contact", "elongation", "z_um"]
    found = correlate_ranks(rows, names)
    assert found[0, 1] > 0.6
    assert found[1, 2] > 0.6
    assert found[0, 2] < 0.3
    groups = group_attributes(rows, names, 0.6, ())
    assert sorted(len(group) for group in groups) == [1, 2]


def test_exact_groups_stay_together_whatever_they_correlate(normal):
    rows = make_rows(sphericity=normal[0], vs_ratio=normal[1], contact=normal[0] + 0.01 * normal[2])
    names = ["sphericity", "vs_ratio", "contact"]
    assert group_attributes(rows, names, 0.8, EXACT_GROUPS) == (
        ("sphericity", "vs_ratio"), ("contact",),
    )  # fmt: skip
    assert group_attributes(rows, names[::2], 0.8, EXACT_GROUPS) == (("sphericity", "contact"),)


def test_monotone_pair_is_one_group_at_the_highest_threshold(normal):
    rows = make_rows(sphericity=np.exp(normal[0]), vs_ratio=np.exp(normal[0] / 6), z_um=normal[1])
    groups = group_attributes(rows, ["sphericity", "vs_ratio", "z_um"], 1.0, ())
    assert groups == (("z_um",), ("sphericity", "vs_ratio"))


def test_correlation_is_the_mean_of_absolute_ones_over_samples(normal):
    turned = np.where(np.arange(2000) < 1000, 1.0, -1.0)
    rows = make_rows(contact=normal[0], z_um=turned * normal[0] + normal[1], elongation=normal[2])
    expected = np.mean(
        [np.abs(spearmanr(part[["contact", "z_um", "elongation"]]).statistic)
         for _, part in rows.groupby("sample")], axis=0,
    )  # fmt: skip
    found = correlate_ranks(rows, ["contact", "z_um", "elongation"])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found[0, 1] > 0.6
