"""Kinds of change come out as they were made."""

from __future__ import annotations

import numpy as np
import pytest

from ncm_kedro.tomo.review.changes import LabelOverlaps, list_changes, merge_overlaps


def overlap(before, after):
    pairs, voxels = np.unique(
        np.stack([before.ravel(), after.ravel()]).astype(np.int64), axis=1, return_counts=True
    )
    some = pairs.any(axis=0)
    return LabelOverlaps(pairs[0, some], pairs[1, some], voxels[some].astype(np.int64))


def changes_of(before, after):
    return list_changes(overlap(before, after)).to_dict("records")


@pytest.fixture
def before():
    """Three bars of 40, 20 and 20 voxels along x."""
    labels = np.zeros((1, 1, 100), np.uint32)
    labels[..., 0:40], labels[..., 40:60], labels[..., 70:90] = 1, 2, 3
    return labels


def test_untouched_labels_have_no_change(before):
    assert changes_of(before, before) == []


def edit(before, *steps):
    after = before.copy()
    for part, value in steps:
        after[..., part] = value
    return after


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(slice(70, 90), 0)], ("deleted", "3", "", 20)),
        ([(slice(92, 98), 9)], ("added", "", "9", 6)),
        ([(slice(40, 60), 1)], ("merged", "1 2", "1", 20)),
        ([(slice(25, 40), 8)], ("split", "1", "1 8", 15)),
        ([(slice(70, 75), 0)], ("reshaped", "3", "3", 5)),
        ([(slice(90, 93), 3)], ("reshaped", "3", "3", 3)),
        ([(slice(70, 90), 7)], ("renumbered", "3", "7", 20)),
        ([(slice(70, 85), 7), (slice(85, 90), 0)], ("reshaped", "3", "7", 20)),
    ],
)
def test_one_change_is_named(before, steps, expected):
    kind, old, new, voxels = expected
    assert changes_of(before, edit(before, *steps)) == [
        {"kind": kind, "particles_before": old, "particles_after": new, "voxels_changed": voxels}
    ]


def test_voxels_that_go_over_reshape_both(before):
    rows = changes_of(before, edit(before, (slice(40, 45), 1)))
    assert [(row["kind"], row["particles_after"], row["voxels_changed"]) for row in rows] == [
        ("reshaped", "1", 5),
        ("reshaped", "2", 5),
    ]


def test_three_even_parts_are_a_split(before):
    rows = changes_of(before, edit(before, (slice(0, 13), 10), (slice(13, 26), 11)))
    assert [(row["kind"], row["particles_after"]) for row in rows] == [("split", "1 10 11")]


def test_two_on_each_side_are_rearranged(before):
    # 8 takes most of 2 and less than half of 1, and is itself mostly of 1.
    rows = changes_of(before, edit(before, (slice(24, 52), 8)))
    assert [(row["kind"], row["particles_before"], row["particles_after"]) for row in rows] == [
        ("rearranged", "1 2", "1 2 8")
    ]


def test_numbers_may_be_permuted_without_a_wrong_merge(before):
    after = np.array([0, 2, 3, 1], np.uint32)[before]
    rows = changes_of(before, after)
    assert [row["kind"] for row in rows] == ["renumbered"] * 3


def test_blocks_add_up_to_the_whole(before):
    after = edit(before, (slice(25, 40), 8), (slice(70, 75), 0))
    whole = overlap(before, after)
    parts = [overlap(before[..., a : a + 17], after[..., a : a + 17]) for a in range(0, 100, 17)]
    merged = merge_overlaps(parts)
    for name in ("before", "after", "voxels"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))
    assert merge_overlaps([]).voxels.size == 0
    assert list_changes(merge_overlaps([])).empty
