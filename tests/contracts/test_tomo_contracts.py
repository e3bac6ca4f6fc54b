"""Contracts let sound tables and volumes pass and name what is wrong with others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pandera.errors
import pytest

from ncm_kedro.contracts.tomo import (
    ParticleListTable,
    SegmentationScores,
    TomogramTable,
)


def test_tables_are_checked():
    row = {"sample": "a", "file": "a.tif", "size_z_vx": 1, "size_y_vx": 2, "size_x_vx": 3,
           "dtype": "uint8", "voxel_z_um": 0.1, "voxel_y_um": 0.1, "voxel_x_um": 0.1,
           "fingerprint": "f", "voxel_size_source": "yml", "warnings": "gaps", "cycles": 10,
           "c_rate": 1.0, "axis_to_collector": "z",
           "field_of_view_fraction": 1.0, "grey_low": 1.0, "grey_median": 2.0, "grey_high": 3.0,
           "rejected_reason": None}  # fmt: skip
    table = pd.DataFrame([row]).astype({"rejected_reason": "str"})
    TomogramTable.validate(table)
    unread = {name: None for name in row if name not in ("sample", "file")}
    kinds = {**table.dtypes.to_dict(), **{f"size_{axis}_vx": "Int64" for axis in "zyx"}}
    rejected = pd.DataFrame([{**row, **unread, "rejected_reason": "2-D"}]).astype(
        {**kinds, "cycles": "float64"}
    )
    TomogramTable.validate(rejected)
    with pytest.raises(pandera.errors.SchemaError):
        TomogramTable.validate(table.assign(field_of_view_fraction=1.2))
    particle = {"sample": "a", "particle_id": 1,
                "z_um": 1.0, "y_um": 1.0, "x_um": 1.0, "voxel_count": 5,
                "volume_um3": 5.0, "equivalent_diameter_um": 2.1, "touches_border": False,
                "probability": 0.5, "disagreement": 0.1, "crack_fraction": 0.0,
                "neck_uncertainty": 0.2,
                "inner_radius_um": np.nan, "z_start_vx": 0, "y_start_vx": 0, "x_start_vx": 0,
                "z_stop_vx": 2, "y_stop_vx": 2, "x_stop_vx": 2}  # fmt: skip
    ParticleListTable.validate(pd.DataFrame([particle]))
    with pytest.raises(pandera.errors.SchemaError):
        ParticleListTable.validate(pd.DataFrame([particle, particle]))
    score = {"sample": "a", "method": "paper", "n_true": 1, "n_predicted": 1, "ap_50": 1.0,
             "ap_70": 1.0, "ap_90": 0.0, "panoptic_quality": 0.9, "precision": 1.0, "recall": 1.0,
             "mean_iou": 0.9,
             "splits": 0, "merges": 0,
             "surface_mean_um": np.nan,
             "surface_p95_um": np.nan}  # fmt: skip
    SegmentationScores.validate(pd.DataFrame([score]))
    with pytest.raises(pandera.errors.SchemaError):
        SegmentationScores.validate(pd.DataFrame([score, score]))
