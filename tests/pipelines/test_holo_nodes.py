"""From raw scans to tomograms of tomo_segment, through the data sets as a run uses them."""

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from ncm_kedro.datasets.projections.folder import RawScanFolder
from ncm_kedro.datasets.projections.phantoms import SyntheticScanFolder
from ncm_kedro.datasets.tomograms.folder import VolumeFolder
from ncm_kedro.datasets.tomograms.raw import RawTomogramFolder, add_reconstructed
from ncm_kedro.errors import TomogramError
from ncm_kedro.params.holo import (
    HoloComputeParams,
    HoloParams,
    HoloPhantomParams,
    PriorParams,
    RetrievalParams,
)
from ncm_kedro.params.tomo_segment import TomoVolumeParams
from ncm_kedro.pipelines.holo_tomography.nodes import reconstruct_scans, report_scans
from ncm_kedro.pipelines.tomo_segment.nodes import ingest_tomograms, tabulate_samples
from ncm_kedro.tomo.volumes.volume import Volumes

PHANTOM = HoloPhantomParams(
    size_px=48, angles=24, detector_pixel_um=18.0, diameter_um=(7, 12), seed=4
)
COMPUTE = HoloComputeParams(workers=1, block_edge_vx=32)
METHODS = HoloParams(retrieval=RetrievalParams(refinements=0))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a good and a damaged scan, reconstructed."""
    folder = tmp_path_factory.mktemp("holo")
    raw = folder / "raw"
    SyntheticScanFolder(filepath=str(raw), truth=str(folder / "truth")).save(PHANTOM)
    (raw / "broken.nx").write_bytes((raw / "pillar.nx").read_bytes()[:5000])
    scans = RawScanFolder(filepath=str(raw)).load()
    volumes = make_folder(folder)
    volumes.save(reconstruct_scans(scans, METHODS, COMPUTE))
    return folder, scans, volumes.load()


def make_folder(folder):
    return VolumeFolder(
        filepath=str(folder / "volumes"), kind="image", compute={"block_edge_vx": 32},
        may_be_empty=True, only_planned=True,
    )  # fmt: skip


def test_a_scan_is_a_tomogram_of_tomo_segment(run, tmp_path):
    _, _, volumes = run
    raw = RawTomogramFolder(filepath=str(tmp_path / "none"), may_be_empty=True).load()
    tomograms = VolumeFolder(
        filepath=str(tmp_path / "tomograms"), kind="image", compute={"block_edge_vx": 32}
    )
    tomograms.save(ingest_tomograms(raw, volumes, TomoVolumeParams(), COMPUTE))
    table = tabulate_samples(raw, volumes, tomograms.load())
    row = table.set_index("sample").loc["pillar"]
    assert row["voxel_x_um"] == pytest.approx(PHANTOM.voxel_size_um)
    assert pd.isna(row["cycles"])  # spheres without cracks are of no stage of cycling
    assert row["grey_unit"] == "e/A3"
    copied = tomograms.load()["pillar"]
    np.testing.assert_array_equal(copied.array[:], volumes["pillar"].array[:])
    assert copied.attributes["grey_unit"] == "e/A3"


def test_neither_scans_nor_tomograms_says_what_belongs_where(tmp_path):
    raw = RawTomogramFolder(filepath=str(tmp_path / "none"), may_be_empty=True)
    assert raw.content_hash() is None
    with pytest.raises(TomogramError, match="holo_tomography"):
        add_reconstructed(raw.load(), Volumes({}))
    with pytest.raises(DatasetError, match="no such folder"):
        RawTomogramFolder(filepath=str(tmp_path / "none")).load()


def test_one_name_twice_is_told(run):
    _, _, volumes = run
    raw = add_reconstructed(
        RawTomogramFolder(filepath=str(run[0] / "none"), may_be_empty=True).load(), volumes
    )
    again = add_reconstructed(raw, volumes)
    assert list(again) == ["pillar"]
    assert "rename" in again.rejected["reason"].iloc[-1]


def test_the_page_shows_scans_and_names_the_broken_one(run):
    _, scans, volumes = run
    figures, page = report_scans(scans, volumes)
    assert set(figures) == {"pillar_sections.png", "pillar_quality.png"}
    assert "broken" in page
    assert "electron density (e/A3)" in page
    assert f"{volumes['pillar'].attributes['centre_px']:.2f}" in page


def test_a_second_run_keeps_the_volume_and_another_setting_does_not(run):
    folder, scans, volumes = run
    store = volumes["pillar"].path / "zarr.json"
    before = store.stat().st_mtime_ns
    make_folder(folder).save(reconstruct_scans(scans, METHODS, COMPUTE))
    assert store.stat().st_mtime_ns == before
    other = METHODS.model_copy(update={"prior": PriorParams(iterations=1, refinements=1)})
    make_folder(folder).save(reconstruct_scans(scans, other, COMPUTE))
    assert store.stat().st_mtime_ns != before
