"""Copying a tomogram: values, checks, what is stored beside; the table of a run."""

import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import zarr
from instance_cases import RawArray, store_volume

from ncm_kedro.contracts.tomo import TomogramTable
from ncm_kedro.errors import TomogramError
from ncm_kedro.params.tomo_segment import TomoComputeParams, TomoVolumeParams
from ncm_kedro.tomo.volumes.ingest import (
    GuardedArray,
    choose_stored_type,
    guard_array,
    plan_tomogram,
)
from ncm_kedro.tomo.volumes.volume import (
    Volumes,
    VolumeTarget,
    list_samples,
    tabulate_tomograms,
)


def ingest(folder, values, edge=32, **params):
    compute = TomoComputeParams(block_edge_vx=edge, workers=2)
    plan = plan_tomogram(RawArray(values), TomoVolumeParams(**params), compute)
    array, mask = (
        zarr.create_array(folder / name, shape=plan.shape_zyx, dtype=kind, chunks=(edge,) * 3)
        for name, kind in (("a", plan.dtype), ("m", np.uint8))
    )
    plan.write(VolumeTarget(array, {"field_of_view": mask}, folder / "work"))
    return plan, array, mask


def draw_volume(shape=(40, 72, 80), kind="uint16"):
    return np.random.default_rng(0).integers(1, 60000, shape).astype(kind)


def test_copies_every_voxel_and_notes_percentiles(tmp_path):
    values = draw_volume()
    plan, array, mask = ingest(tmp_path, values)
    np.testing.assert_array_equal(array[:], values)
    assert mask[:].all()
    assert dict(plan.attributes) == {
        "cycles": 10, "source": "s.tif", "voxel_size_source": "test"
    }  # fmt: skip
    noted = dict(array.attrs)
    assert noted["field_of_view_fraction"] == 1
    assert noted["outside_grey"] is None
    expected = np.percentile(values, [1, 50, 99.8])
    np.testing.assert_allclose(list(noted["grey_percentiles"].values()), expected)
    assert list(noted["grey_percentiles"]) == ["1", "50", "99.8"]


def test_percentiles_leave_the_outside_out_whatever_the_blocks(tmp_path):
    values = np.random.default_rng(0).integers(80, 200, (24, 160, 160)).astype(np.uint8)
    y, x = np.mgrid[:160, :160]
    values[:, np.hypot(y - 80, x - 80) > 82] = 0
    notes = []
    for edge in (16, 64):
        folder = tmp_path / str(edge)
        _, array, mask = ingest(folder, values, edge, grey_samples=10_000, slab_memory_mb=16)
        notes.append((dict(array.attrs), mask[:]))
    assert notes[0][0] == notes[1][0]
    np.testing.assert_array_equal(notes[0][1], notes[1][1])
    assert notes[0][0]["grey_percentiles"]["1"] >= 80
    assert notes[0][0]["outside_grey"] == 0
    assert notes[0][0]["field_of_view_fraction"] == pytest.approx(
        np.mean(np.hypot(y - 80, x - 80) <= 82), abs=0.01
    )


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        ("?", "u1"),
        (">u2", "u2"),
        ("<i2", "i2"),
        (">f4", "f4"),
        ("f2", "f4"),
        ("f8", "f4"),
        ("<i8", "i4"),
        (">u8", "u4"),
    ],
)
def test_types(tmp_path, kind, stored):
    assert choose_stored_type(np.dtype(kind)) == np.dtype(stored)
    assert choose_stored_type(np.dtype(kind)).isnative
    values = (draw_volume((16, 20, 24)) % 100).astype(kind)
    _, array, _ = ingest(tmp_path, values)
    np.testing.assert_array_equal(array[:], values.astype(stored))


def test_says_where_values_are_not_finite(tmp_path):
    values = draw_volume((40, 24, 24), "float32")
    values[33, 2, 2] = np.nan
    values[35, 2, :3] = np.inf
    with pytest.raises(TomogramError, match=r"4 voxels.*2 sections, the first z = 33 \(1 voxels"):
        ingest(tmp_path, values)


def test_refuses_floats_beyond_float32(tmp_path):
    values = draw_volume((16, 16, 16), "float64")
    values[3, 3, 3] = 1e300
    with pytest.raises(TomogramError, match="beyond float32"):
        ingest(tmp_path, values)


@pytest.mark.parametrize(("kind", "value"), [("int64", -(2**31) - 1), ("uint64", 2**32)])
def test_refuses_whole_numbers_beyond_four_bytes(tmp_path, kind, value):
    values = draw_volume((16, 16, 16), kind)
    values[3, 3, 3] = value
    with pytest.raises(TomogramError, match=r"1 voxels that are beyond 32 bits.*z = 3"):
        ingest(tmp_path, values)


def test_refuses_a_constant_volume(tmp_path):
    with pytest.raises(TomogramError, match="grey value 7 in every voxel"):
        ingest(tmp_path, np.full((16, 16, 16), 7, np.uint8))


def test_fingerprint_follows_inputs_and_settings_not_memory():
    def fingerprint(tomogram, edge=32, **params):
        compute = TomoComputeParams(block_edge_vx=edge)
        return plan_tomogram(tomogram, TomoVolumeParams(**params), compute).fingerprint

    values = draw_volume((8, 8, 8))
    base = fingerprint(RawArray(values))
    assert fingerprint(RawArray(values), 64, slab_memory_mb=99) == base
    others = {
        fingerprint(RawArray(values, fingerprint="g")),
        fingerprint(RawArray(values, voxel_size_um=(0.2, 0.1, 0.1))),
        fingerprint(RawArray(values, attributes={"cycles": 50})),
        fingerprint(RawArray(values), find_field_of_view=False),
    }
    assert len(others | {base}) == 5


def test_guarded_arrays_survive_pickling_and_writing(tmp_path):
    array = zarr.create_array(tmp_path / "a", shape=(8, 8), dtype="u2", chunks=(4, 4))
    guarded = guard_array(array)
    guarded[2:6] = 3
    again = pickle.loads(pickle.dumps(guarded))  # noqa: S301
    assert isinstance(again, GuardedArray)
    assert again[:].sum() == np.asarray(array).sum() == 3 * 32
    with pytest.raises(IndexError):
        again[9]


NOTHING = pd.DataFrame(columns=["file", "reason"], dtype="str")


def store_sample(name: str, tmp_path):
    attributes = {
        "grey_percentiles": {"1": 10, "50": 90, "99.8": 200}, "field_of_view_fraction": 0.8,
        "cycles": 10,
    }  # fmt: skip
    values = np.zeros((4, 5, 6), np.uint8)
    return store_volume(tmp_path / name, values, attributes=attributes, voxel_um=(0.1, 0.2, 0.3))


def test_stale_volumes_are_no_samples_of_the_run(tmp_path):
    volumes = Volumes(
        {name: store_sample(name, tmp_path) for name in ("new", "stale")}, {"broken": "holds NaN"}
    )
    raw = {
        name: SimpleNamespace(source=f"/raw/{name}.tif", warnings=(f"look at {name}", "twice"))
        for name in ("new", "broken")
    }
    rejected = pd.DataFrame({"file": ["flat.tif"], "reason": ["one section"]}, dtype="str")
    table = tabulate_tomograms(raw, volumes, rejected)
    TomogramTable.validate(table)
    assert table["sample"].tolist() == ["broken", "flat.tif", "new"]
    assert list_samples(table) == ["new"]
    row = table.set_index("sample").loc["new"]
    assert (row["size_z_vx"], row["size_x_vx"], row["voxel_x_um"]) == (4, 6, 0.3)
    assert (row["grey_low"], row["grey_median"], row["grey_high"]) == (10, 90, 200)
    assert row["warnings"] == "look at new; twice"
    assert table.set_index("sample").loc["broken", "rejected_reason"] == "holds NaN"


def test_a_run_without_samples_says_so():
    raw = {"broken": SimpleNamespace(source="/raw/broken.tif", warnings=())}
    with pytest.raises(TomogramError, match="no usable sample among 1"):
        tabulate_tomograms(raw, Volumes({}, {"broken": "holds NaN"}), NOTHING)
