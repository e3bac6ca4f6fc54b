"""Edited labels become a new version with a log of changes; what does not fit is rejected."""

import numpy as np
import pytest
import zarr

from ncm_kedro.contracts.tomo import ReviewLog
from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.review.edits import apply_edits, list_changes, open_edited
from ncm_kedro.tomo.scoring.score import Overlaps, join_overlaps
from ncm_kedro.tomo.volumes.volume import Volume, VolumeTarget

COMPUTE = TomoComputeParams(workers=2, block_edge_vx=16)
SHAPE = (20, 40, 48)
VOXEL_UM = (0.2, 0.1, 0.1)


@pytest.fixture
def labels(tmp_path):
    group = zarr.open_group(tmp_path / "labels", mode="w")
    values = np.zeros(SHAPE, np.uint32)
    values[2:10, 5:20, 5:20], values[12:18, 22:38, 22:40] = 1, 2
    cracks = np.zeros(SHAPE, np.uint8)
    cracks[4:6, 5:20, 10:12], cracks[14, 22:38, 22:40] = 1, 1
    return Volume(
        name="cyc10", path=tmp_path / "labels",
        array=group.create_array("0", data=values, chunks=(16, 16, 16)), levels=(),
        voxel_size_um=VOXEL_UM,
        extras={"cracks": group.create_array("cracks", data=cracks, chunks=(16, 16, 16))},
        attributes={"fingerprint": "abc", "cycles": 10},
    )  # fmt: skip


def save(path, values, **attributes):
    zarr.create_array(path, data=values, chunks=(13, 13, 13), attributes=attributes, overwrite=True)
    return open_edited(path)


def write(plan, folder):
    group = zarr.open_group(folder, mode="w")
    arrays = {
        name: group.create_array(name, shape=plan.shape_zyx, dtype=kind, chunks=(8, 8, 8),
                                 shards=(16, 16, 16))
        for name, kind in {"0": plan.dtype, **plan.extras}.items()
    }  # fmt: skip
    target = VolumeTarget(arrays.pop("0"), arrays, folder / "work")
    plan.write(target)
    return target


def test_edits_come_back_with_their_log(labels, tmp_path):
    before = labels.array[:]
    after = before.copy()
    after[before == 2] = 0
    after[2:10, 5:20, 14:20] = 7
    facts = {"user": "lee", "saved_at": "2026-01-02T03:04:05+00:00", "voxel_size_um": VOXEL_UM}
    edited = save(tmp_path / "edited", after, **facts)
    plan, log = apply_edits(labels, edited, COMPUTE)
    target = write(plan, tmp_path / "new")
    np.testing.assert_array_equal(target.array[:], after)
    np.testing.assert_array_equal(
        target.extras["cracks"][:], labels.extras["cracks"][:] * (after > 0)
    )
    assert plan.is_label
    assert plan.attributes["edited_from"] == "abc"
    assert plan.attributes["cycles"] == 10
    ReviewLog.validate(log)
    assert log[["kind", "particles_before", "particles_after"]].values.tolist() == [
        ["split", "1", "1 7"],
        ["deleted", "2", ""],
    ]
    assert log["voxels_changed"].tolist() == [8 * 15 * 6, 6 * 16 * 18]
    assert set(log["user"]) == {"lee"}
    assert set(log["time"]) == {facts["saved_at"]}
    np.testing.assert_array_equal(labels.array[:], before)


def test_identity_follows_the_content_alone(labels, tmp_path):
    after = labels.array[:]
    after[2:4] = 0
    first, _ = apply_edits(labels, save(tmp_path / "a", after), COMPUTE)
    second, _ = apply_edits(
        labels, save(tmp_path / "b", after.astype(np.int64), user="kim"), TomoComputeParams()
    )
    after[0, 0, 0] = 5
    third, _ = apply_edits(labels, save(tmp_path / "c", after), COMPUTE)
    assert first.fingerprint == second.fingerprint
    assert len({labels.fingerprint, first.fingerprint, third.fingerprint}) == 3


def test_no_edit_is_an_empty_log(labels, tmp_path):
    _, log = apply_edits(labels, save(tmp_path / "a", labels.array[:]), COMPUTE)
    ReviewLog.validate(log)
    assert log.empty


def test_ome_zarr_groups_are_read_with_their_scale(labels, tmp_path):
    group = zarr.open_group(tmp_path / "ome", mode="w")
    group.create_array("s0", data=labels.array[:], chunks=(16, 16, 16))
    steps = [{"type": "scale", "scale": list(VOXEL_UM)}]
    group.attrs["ome"] = {
        "multiscales": [{"datasets": [{"path": "s0", "coordinateTransformations": steps}]}]
    }
    edited = open_edited(tmp_path / "ome")
    assert edited.attributes["voxel_size_um"] == list(VOXEL_UM)
    assert apply_edits(labels, edited, COMPUTE)[1].empty


@pytest.mark.parametrize(
    ("change", "facts", "message"),
    [
        (lambda v: v[:10], {}, r"shape \(10, 40, 48\)"),
        (lambda v: v.astype(np.float32), {}, "float32"),
        (lambda v: v.astype(np.int32) - 1, {}, "from -1 to 1"),
        (lambda v: v, {"voxel_size_um": [1.0, 1.0, 1.0]}, "voxel size"),
        (lambda v: v, {"saving": True}, "not saved to the end"),
        (lambda v: v, {"original_fingerprint": "old"}, "fingerprint old"),
    ],
)
def test_what_does_not_fit_is_refused(labels, tmp_path, change, facts, message):
    edited = save(tmp_path / "edited", change(labels.array[:]), **facts)
    with pytest.raises(StoreError, match=message):
        apply_edits(labels, edited, COMPUTE)


def test_what_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "edited").mkdir()
    with pytest.raises(StoreError, match="edited"):
        open_edited(tmp_path / "edited")
    with pytest.raises(StoreError, match="nothing_there"):
        open_edited(tmp_path / "nothing_there")
    zarr.open_group(tmp_path / "group", mode="w")
    with pytest.raises(StoreError, match="group"):
        open_edited(tmp_path / "group")


def test_a_damaged_chunk_is_located(labels, tmp_path):
    edited = save(tmp_path / "edited", labels.array[:])
    chunk = next(path for path in (tmp_path / "edited" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(b"no chunk")
    with pytest.raises(StoreError, match="cannot be read, from voxel"):
        apply_edits(labels, edited, COMPUTE)


def overlap(before, after):
    pairs, voxels = np.unique(
        np.stack([before.ravel(), after.ravel()]).astype(np.int64), axis=1, return_counts=True
    )
    some = pairs.any(axis=0)
    return Overlaps(pairs[0, some], pairs[1, some], voxels[some].astype(np.int64))


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
    merged = join_overlaps(parts)
    for name in ("true", "predicted", "voxels"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))
    assert join_overlaps([]).voxels.size == 0
    assert list_changes(join_overlaps([])).empty
