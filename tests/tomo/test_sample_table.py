"""The table of a run names what was used and why the rest was set aside."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import zarr

from ncm_kedro.contracts.tomo import TomogramTable
from ncm_kedro.errors import TomogramError
from ncm_kedro.tomo.volumes.volume import Volume, Volumes, list_samples, tabulate_tomograms

NOTHING = pd.DataFrame(columns=["file", "reason"], dtype="str")


def make_volume(name: str, tmp_path) -> Volume:
    array = zarr.create_array(tmp_path / name, shape=(4, 5, 6), dtype=np.uint8)
    attributes = {
        "grey_percentiles": {"1": 10, "50": 90, "99.8": 200}, "field_of_view_fraction": 0.8,
        "cycles": 10, "fingerprint": "f",
    }  # fmt: skip
    return Volume(name, tmp_path / name, array, (array,), (0.1, 0.2, 0.3), {}, attributes)


def test_stale_volumes_are_no_samples_of_the_run(tmp_path):
    volumes = Volumes(
        {name: make_volume(name, tmp_path) for name in ("new", "stale")}, {"broken": "holds NaN"}
    )
    raw = {name: SimpleNamespace(source=f"/raw/{name}.tif") for name in ("new", "broken")}
    rejected = pd.DataFrame({"file": ["flat.tif"], "reason": ["one section"]}, dtype="str")
    table = tabulate_tomograms(raw, volumes, rejected)
    TomogramTable.validate(table)
    assert table["sample"].tolist() == ["broken", "flat.tif", "new"]
    assert list_samples(table) == ["new"]
    row = table.set_index("sample").loc["new"]
    assert (row["size_z_vx"], row["size_x_vx"], row["voxel_x_um"]) == (4, 6, 0.3)
    assert (row["grey_low"], row["grey_median"], row["grey_high"]) == (10, 90, 200)
    assert table.set_index("sample").loc["broken", "rejected_reason"] == "holds NaN"


def test_a_run_without_samples_says_so():
    raw = {"broken": SimpleNamespace(source="/raw/broken.tif")}
    with pytest.raises(TomogramError, match="no usable sample among 1"):
        tabulate_tomograms(raw, Volumes({}, {"broken": "holds NaN"}), NOTHING)
