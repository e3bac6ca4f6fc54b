"""A small phantom scan, held in memory, and targets to reconstruct it into."""

import pytest
import zarr
from phantom_scans import SMALL, make_scan

from ncm_kedro.tomo.volumes.volume import VolumeTarget


@pytest.fixture(scope="session")
def small_scan():
    return make_scan(SMALL)


@pytest.fixture
def target(tmp_path):
    def make(plan, edge=32):
        array = zarr.create_array(
            tmp_path / "0", shape=plan.shape_zyx, dtype=plan.dtype, chunks=(edge,) * 3,
            shards=(edge,) * 3,
        )  # fmt: skip
        (tmp_path / "work").mkdir(exist_ok=True)
        return VolumeTarget(array, {}, tmp_path / "work")

    return make
