"""The folder of phantom tomograms: what lies where, and what a failed run leaves."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from kedro.io import DatasetError

from ncm_kedro.datasets.tomograms.phantoms import SyntheticTomogramFolder
from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_phantoms import PackingParams, TomoPhantomParams, TomoSampleParams
from ncm_kedro.synthetic.tomo.volume import plan_phantoms

PARAMS = TomoPhantomParams(
    shape_zyx=(18, 20, 24),
    voxel_size_um=0.5,
    samples={"one": TomoSampleParams(cycles=10, c_rate=2.0)},
    packing=PackingParams(median_diameter_um=5, diameter_range_um=(3, 6)),
)


@pytest.fixture
def folder(tmp_path: Path) -> SyntheticTomogramFolder:
    return SyntheticTomogramFolder(filepath=str(tmp_path / "tomograms"))


def test_sample_and_truth_lie_apart(folder: SyntheticTomogramFolder, tmp_path: Path) -> None:
    assert not folder.exists()
    folder.save(plan_phantoms(PARAMS))
    assert folder.exists()
    raw, known = tmp_path / "tomograms", tmp_path / "tomograms_truth"
    found = folder.load()["one"]
    assert (found.shape_zyx, found.voxel_size_um) == ((18, 20, 24), (0.5, 0.5, 0.5))
    assert found.attributes["cycles"] == 10
    assert {path.name for path in (tmp_path / "tomograms").iterdir()} == {"one.tif", "one.yml"}
    grey = tifffile.imread(raw / "one.tif")
    labels = tifffile.imread(known / "one_labels.tif")
    cracks = tifffile.imread(known / "one_cracks.tif")
    assert grey.shape == labels.shape == cracks.shape == (18, 20, 24)
    assert (grey.dtype, labels.dtype, cracks.dtype) == (np.uint8, np.uint32, np.uint8)
    assert (labels[cracks > 0] > 0).all()
    truth = pd.read_parquet(known / "one_particles.parquet")
    assert truth["voxel_count"].sum() == (labels > 0).sum()
    contacts = pd.read_parquet(known / "one_contacts.parquet")
    assert set(contacts.to_numpy().ravel()) <= set(truth["particle_id"])
    assert yaml.safe_load((raw / "one.yml").read_text()) == {
        "voxel_size_um": [0.5, 0.5, 0.5], "cycles": 10, "c_rate": 2.0, "axis_to_collector": "-z",
    }  # fmt: skip
    with tifffile.TiffFile(raw / "one.tif") as file:
        assert 'PhysicalSizeZ="0.5"' in (file.ome_metadata or "")
        assert file.series[0].axes == "ZYX"


def test_finished_sample_is_kept_until_its_settings_change(
    folder: SyntheticTomogramFolder, tmp_path: Path
) -> None:
    folder.save(plan_phantoms(PARAMS))
    image = tmp_path / "tomograms" / "one.tif"
    before = image.stat().st_mtime_ns
    first = image.read_bytes()
    folder.save(plan_phantoms(PARAMS.model_copy(update={"slab_vx": 5})))
    assert image.stat().st_mtime_ns == before
    folder.save(plan_phantoms(PARAMS.model_copy(update={"seed": 1})))
    assert image.read_bytes() != first


def test_missing_file_is_rendered_again_and_the_same(
    folder: SyntheticTomogramFolder, tmp_path: Path
) -> None:
    folder.save(plan_phantoms(PARAMS))
    path = tmp_path / "tomograms_truth" / "one_labels.tif"
    labels = tifffile.imread(path)
    path.unlink()
    assert folder.samples == ()
    folder.save(plan_phantoms(PARAMS))
    np.testing.assert_array_equal(tifffile.imread(path), labels)


def test_users_own_tomogram_is_never_replaced(
    folder: SyntheticTomogramFolder, tmp_path: Path
) -> None:
    own = tmp_path / "tomograms" / "one.tif"
    own.parent.mkdir()
    own.write_bytes(b"mine")
    with pytest.raises(DatasetError, match="did not write"):
        folder.save(plan_phantoms(PARAMS))
    assert own.read_bytes() == b"mine"


def test_full_disk_leaves_the_last_result(
    folder: SyntheticTomogramFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder.save(plan_phantoms(PARAMS))
    known = tmp_path / "tomograms_truth"
    before = {path: path.read_bytes() for path in known.iterdir() if path.is_file()}

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tifffile, "imwrite", fail)
        with pytest.raises(DatasetError, match="No space left"):
            folder.save(plan_phantoms(PARAMS.model_copy(update={"seed": 2})))
    after = {path: path.read_bytes() for path in known.iterdir() if path.is_file()}
    assert after == before
    assert not [path for path in known.iterdir() if path.is_dir()]


def test_truth_within_the_scanned_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="outside"):
        SyntheticTomogramFolder(filepath=str(tmp_path / "t"), truth=str(tmp_path / "t" / "truth"))
