"""Volumes on disk: round trips, readers of others, kills, full disks and damage.

What they share with measurements, the exchange above all, is tested in `test_measurement_folder`.
"""

import base64
import errno
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import zarr
from kedro.io import DatasetError
from PIL import Image

from ncm_kedro.datasets.tomograms import store as volume_store
from ncm_kedro.datasets.tomograms.folder import VolumeFolder
from ncm_kedro.datasets.tomograms.pyramid import list_levels, shrink_array
from ncm_kedro.errors import StoreError, TomogramError
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.volumes.blocks import list_blocks, run_blocks
from ncm_kedro.tomo.volumes.volume import VolumePlan

EDGE = 32
COMPUTE = TomoComputeParams(block_edge_vx=EDGE, workers=2)
SPACING = (0.2, 0.1, 0.1)


class Painter:
    """Writes an array block by block, counts the blocks, and can fail at one of them."""

    def __init__(self, values, fail_at=None, error=None):
        self.values, self.fail_at, self.error, self.done = values, fail_at, error, []

    def __call__(self, target):
        def paint(block):
            if block.index == self.fail_at:
                raise self.error
            target.array[block.region] = self.values[block.region]
            target.extras["cracks"][block.region] = self.values[block.region] > 100
            self.done.append(block.index)

        blocks = list_blocks(self.values.shape, (EDGE,) * 3)
        compute = COMPUTE.model_copy(update={"workers": 1})
        run_blocks(paint, blocks, finished=target.work / "p", compute=compute, title="paint")
        target.array.attrs["measured"] = 5


def draw_values(seed=0, kind="uint8", shape=(8, 300, 40)):
    return np.random.default_rng(seed).integers(0, 250, shape).astype(kind)


def make_plan(painter, fingerprint="f1", is_label=False, name="a"):
    return VolumePlan(
        name, painter.values.shape, painter.values.dtype, SPACING, fingerprint, painter,
        {"cracks": np.uint8}, is_label, {"cycles": 10},
    )  # fmt: skip


def open_folder(path, kind="image"):
    return VolumeFolder(filepath=str(path), kind=kind, compute=COMPUTE.model_dump())


@pytest.fixture
def folder(tmp_path):
    return open_folder(tmp_path / "v")


def read_tree(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32"])
def test_round_trip(folder, kind):
    values = draw_values(kind=kind)
    folder.save([make_plan(Painter(values))])
    volume = folder.load()["a"]
    np.testing.assert_array_equal(volume.array[:], values)
    np.testing.assert_array_equal(volume.extras["cracks"][:], values > 100)
    assert volume.array.dtype == values.dtype
    assert [level.shape for level in volume.levels] == [(8, 300, 40), (8, 150, 20)]
    assert volume.voxel_size_um == SPACING
    assert volume.fingerprint == "f1"
    assert volume.attributes == {"cycles": 10, "measured": 5, "fingerprint": "f1"}
    assert volume.array.shards == (EDGE,) * 3
    ncm = json.loads((volume.path / "zarr.json").read_bytes())["attributes"]["ncm"]
    assert ncm["finished"]
    assert ncm["voxel_size_um"] == list(SPACING)
    assert sorted(p.name for p in volume.path.iterdir()) == ["0", "1", "labels", "zarr.json"]
    assert sorted(p.name for p in volume.path.parent.iterdir()) == [
        "a.ome.zarr", "rejections.json"
    ]  # fmt: skip


def test_levels_of_images_average_and_of_labels_pick(tmp_path, folder):
    values = draw_values(kind="uint32")
    labels = open_folder(tmp_path / "l", "label")
    folder.save({"a": make_plan(Painter(values))})
    labels.save({"a": make_plan(Painter(values), is_label=True)})
    pairs = values.reshape(8, 150, 2, 20, 2)
    mean = folder.load()["a"].levels[1][:]
    np.testing.assert_allclose(mean, pairs.mean(axis=(2, 4)), atol=0.5)
    coarse = labels.load()["a"].levels[1][:]
    assert (coarse[:, :, None, :, None] == pairs).any(axis=(2, 4)).all()


def test_other_readers_open_it(tmp_path, folder):
    models = pytest.importorskip("ome_zarr_models.v05")
    ome_zarr_io = pytest.importorskip("ome_zarr.io")
    ome_zarr_reader = pytest.importorskip("ome_zarr.reader")
    napari_ome_zarr = pytest.importorskip("napari_ome_zarr")
    values = draw_values()
    folder.save([make_plan(Painter(values))])
    path = str(folder.load()["a"].path)
    image = next(iter(ome_zarr_reader.Reader(ome_zarr_io.parse_url(path))()))
    np.testing.assert_array_equal(np.asarray(image.data[0]), values)
    scale, shift = image.metadata["coordinateTransformations"][1]
    assert scale["scale"] == pytest.approx([0.2, 0.2, 0.2])
    assert shift["translation"] == pytest.approx([0, 0.05, 0.05])
    layers = napari_ome_zarr.napari_get_reader(path)(path)
    kinds = {kind: (data, meta) for data, meta, kind in layers}
    assert set(kinds) == {"image", "labels"}
    assert kinds["image"][1]["scale"] == pytest.approx(SPACING)
    assert kinds["image"][1]["units"] == ("micrometer",) * 3
    np.testing.assert_array_equal(np.asarray(kinds["labels"][0][0]), values > 100)
    image = models.Image.from_zarr(zarr.open_group(path, mode="r"))
    axes = image.ome_attributes.multiscales[0].axes
    assert [(axis.name, axis.unit) for axis in axes] == [(name, "micrometer") for name in "zyx"]
    labels = open_folder(tmp_path / "deep" / "l", "label")
    labels.save([make_plan(Painter(draw_values(kind="uint32")), is_label=True)])
    path = str(labels.load()["a"].path)
    assert [kind for *_, kind in napari_ome_zarr.napari_get_reader(path)(path)] == ["labels"] * 2


def test_keeps_what_is_up_to_date_and_replaces_what_is_not(folder):
    folder.save([make_plan(Painter(draw_values()))])
    again = Painter(draw_values(1))
    folder.save([make_plan(again)])
    assert not again.done
    folder.save([make_plan(again, "f2")])
    np.testing.assert_array_equal(folder.load()["a"].array[:], again.values)
    folder.save([make_plan(Painter(draw_values(2)), name="b")])
    assert list(folder.load()) == ["a", "b"]


def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path, folder):
    values = draw_values()
    broken = Painter(values, fail_at=7, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        folder.save([make_plan(broken)])
    with pytest.raises(DatasetError, match="no finished volume"):
        folder.load()
    resumed = Painter(values)
    folder.save([make_plan(resumed)])
    assert set(broken.done).isdisjoint(resumed.done)
    whole = open_folder(tmp_path / "w")
    whole.save([make_plan(Painter(values))])
    assert read_tree(whole.load()["a"].path) == read_tree(folder.load()["a"].path)


def test_does_not_go_on_with_another_plan(folder):
    broken = Painter(draw_values(), fail_at=7, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        folder.save([make_plan(broken)])
    other = Painter(draw_values(1))
    folder.save([make_plan(other, "f2")])
    np.testing.assert_array_equal(folder.load()["a"].array[:], other.values)


def test_a_full_disk_while_levels_are_written(folder, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    painter = Painter(draw_values())
    with monkeypatch.context() as patch:
        patch.setattr(volume_store.DownsampleBlock, "__call__", fail)
        with pytest.raises(DatasetError, match="No space left"):
            folder.save([make_plan(painter)])
    count = len(painter.done)
    folder.save([make_plan(painter)])
    assert len(painter.done) == count


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("x"), OSError(errno.EIO, "sensor lost"), MemoryError("too large"),
              StoreError("a", found="a damaged chunk", expected="b", action="c")],
)  # fmt: skip
def test_whatever_a_sample_raises_the_others_go_on(folder, error):
    bad, good = Painter(draw_values(), fail_at=3, error=error), Painter(draw_values(1))
    folder.save({"a": lambda: make_plan(bad), "b": make_plan(good, name="b")})
    volumes = folder.load()
    assert list(volumes) == ["b"]
    assert str(error) in volumes.rejections["a"]
    with pytest.raises(TomogramError, match=re.escape(str(error))):
        volumes.take("a")
    assert volumes.take("b") is volumes["b"]


def test_a_plan_that_cannot_be_made_concerns_its_sample_alone(folder):
    def fail():
        raise KeyError("no such map")

    folder.save({"a": fail, "b": make_plan(Painter(draw_values()), name="b")})
    assert "no such map" in folder.load().rejections["a"]
    with pytest.raises(DatasetError, match="no such map"):
        folder.save({"a": fail})


def test_an_error_in_reading_costs_no_finished_block(folder):
    """One section that cannot be read: mended, only what is missing is computed."""
    values = draw_values()
    broken = Painter(values, fail_at=7)
    broken.error = TomogramError("a.tif", found="sections 3 to 4 that cannot be read",
                                 expected="an intact file", action="copy it again")  # fmt: skip
    broken.error.__cause__ = OSError(errno.EIO, "Input/output error")
    other = Painter(values)
    folder.save([make_plan(broken), make_plan(other, name="b")])
    resumed = Painter(values)
    folder.save([make_plan(resumed)])
    assert broken.done
    assert set(broken.done).isdisjoint(resumed.done)
    np.testing.assert_array_equal(folder.load()["a"].array[:], values)


def test_measures_among_the_extras_are_averaged_and_masks_picked(folder):
    values = draw_values()
    plan = replace(make_plan(Painter(values)), averaged=frozenset({"cracks"}))
    folder.save([plan, make_plan(Painter(values), name="mask")])
    full = (values > 100).astype(float).reshape(8, 150, 2, 20, 2)
    stores = {name: zarr.open_group(v.path, mode="r") for name, v in folder.load().items()}
    measure, mask = (stores[name]["labels/cracks/1"][:] for name in ("a", "mask"))
    np.testing.assert_allclose(measure, full.mean(axis=(2, 4)), atol=0.5)
    assert (mask[:, :, None, :, None] == full).any(axis=(2, 4)).all()
    types = {name: stores[name]["labels/cracks"].attrs["ome"]["multiscales"][0]["type"]
             for name in stores}  # fmt: skip
    assert types == {"a": "mean", "mask": "mode"}


def test_levels_know_their_voxels(folder):
    folder.save([make_plan(Painter(draw_values()))])
    assert folder.load()["a"].level_sizes_um == (SPACING, (0.2, 0.2, 0.2))


def test_volumes_that_are_no_longer_planned_are_removed_on_request(tmp_path):
    folder = VolumeFolder(filepath=str(tmp_path / "r"), kind="image", compute=COMPUTE.model_dump(),
                          may_be_empty=True, only_planned=True)  # fmt: skip
    folder.save([make_plan(Painter(draw_values())), make_plan(Painter(draw_values()), name="b")])
    folder.save([make_plan(Painter(draw_values()), name="b")])
    assert list(folder.load()) == ["b"]
    folder.save([])
    assert folder.load() == {}


def test_a_lost_file_is_reported(folder):
    folder.save([make_plan(Painter(draw_values()))])
    path = folder.load()["a"].path
    (path / "0" / "c" / "0" / "4" / "0").unlink()
    with pytest.raises(DatasetError, match="files of data, where"):
        folder.load()


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_chunk_names_its_file(folder, damage):
    folder.save([make_plan(Painter(draw_values()))])
    volume = folder.load()["a"]
    shard = volume.path / "0" / "c" / "0" / "4" / "0"
    content = bytearray(shard.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content if damage == "flip" else content[: len(content) // 2]))
    with pytest.raises(StoreError, match="0/c/0/4/0: found a chunk that cannot be decoded"):
        volume.array[:]
    with pytest.raises(StoreError, match="0/c/0/4/0"):
        volume.array[5, 130, 3]
    assert volume.array[:, :128].shape == (8, 128, 40)


def test_an_emptied_file_is_reported(folder):
    folder.save([make_plan(Painter(draw_values()))])
    (folder.load()["a"].path / "labels" / "cracks" / "0" / "c" / "0" / "4" / "0").write_bytes(b"")
    with pytest.raises(DatasetError, match="cracks/0/c/0/4/0: found a file of 0 bytes"):
        folder.load()


def test_damaged_metadata_is_reported(folder):
    folder.save([make_plan(Painter(draw_values()))])
    path = folder.load()["a"].path
    (path / "1" / "zarr.json").write_text("{")
    with pytest.raises(DatasetError, match=r"a.ome.zarr: found metadata that cannot be read"):
        folder.load()
    (path / "zarr.json").write_text("{")
    with pytest.raises(DatasetError, match="no finished volume of this project"):
        folder.load()


def test_missing_volumes(tmp_path, folder):
    assert not folder.exists()
    with pytest.raises(DatasetError, match="no finished volume"):
        folder.load()
    empty = VolumeFolder(filepath=str(tmp_path / "e"), kind="label", may_be_empty=True)
    assert empty.load() == {}
    empty.save([])
    assert empty.load() == {}


def test_the_wrong_kind_is_refused(folder):
    with pytest.raises(DatasetError, match="kind: image"):
        folder.save([make_plan(Painter(draw_values()), is_label=True)])


def test_halves_until_the_longest_axis_is_short():
    levels = list_levels((100, 1030, 515), (0.1, 0.1, 0.1))
    assert [level.shape_zyx for level in levels] == [
        (100, 1030, 515), (50, 515, 258), (25, 258, 129), (13, 129, 65)
    ]  # fmt: skip
    assert levels[2].spacing_um == pytest.approx((0.4, 0.4, 0.4))
    assert levels[2].offset_um == pytest.approx((0.15, 0.15, 0.15))


def test_waits_for_the_finer_axes():
    levels = list_levels((300, 1200, 1200), (0.5, 0.1, 0.1))
    assert [level.factors_zyx for level in levels[1:]] == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]


def test_a_small_volume_has_one_level():
    assert len(list_levels((256, 10, 10), (1.0, 1.0, 1.0))) == 1


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "float32"])
def test_means(kind):
    volume = np.random.default_rng(0).integers(0, 200, (4, 6, 8)).astype(kind)
    expected = volume.reshape(2, 2, 3, 2, 4, 2).mean(axis=(1, 3, 5))
    small = shrink_array(volume, (2, 2, 2), is_label=False)
    assert small.dtype == volume.dtype
    np.testing.assert_allclose(small, expected, atol=0.5 if kind != "float32" else 1e-4)


def test_most_frequent_identity_wins():
    volume = np.array([[[7, 7], [3, 9]], [[7, 9], [9, 9]]], np.uint32)
    assert shrink_array(volume, (2, 2, 2), is_label=True).item() == 9
    assert shrink_array(volume[:1], (1, 2, 2), is_label=True).item() == 7


def test_never_invents_an_identity():
    volume = np.random.default_rng(1).integers(0, 5, (9, 7, 5)).astype(np.uint32) * 1000
    small = shrink_array(volume, (2, 2, 2), is_label=True)
    assert small.shape == (5, 4, 3)
    assert set(np.unique(small)) <= set(np.unique(volume))


def test_keeps_the_centre_of_a_ball():
    grid = np.mgrid[:32, :32, :32] - np.array([14.3, 17.1, 15.8])[:, None, None, None]
    ball = (np.sqrt((grid**2).sum(axis=0)) < 9).astype(np.uint8)
    small = shrink_array(ball, (2, 2, 2), is_label=True)
    centre = np.argwhere(small).mean(axis=0) * 2 + 0.5
    np.testing.assert_allclose(centre, np.argwhere(ball).mean(axis=0), atol=0.25)


def test_the_middle_sections_are_previewed(tmp_path):
    values = np.zeros((4, 30, 40), "uint8")
    values[2, :, 20:] = 200
    values[2, 15:, :20] = 100
    images = open_folder(tmp_path / "images")
    images.save([make_plan(Painter(values), name=name) for name in ("a", "b")])
    labels = open_folder(tmp_path / "labels", "label")
    labels.save([make_plan(Painter(values), is_label=True)])
    sheet, coloured = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(each.preview()))).convert("RGB"))
        for each in (images, labels)
    )
    assert sheet.shape[1] == 900
    for left in (0, 300):  # a sample beside the other, each with its name above
        assert (sheet[20:30, left + 22 : left + 38] > 250).all()
        assert (sheet[20:30, left + 2 : left + 18].std(axis=2) == 0).all()
    one, other = coloured[25, 30], coloured[25, 10]
    assert (one != other).any()
    assert (coloured[16:30, 22:38] == one).all()
