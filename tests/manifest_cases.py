"""Rows of `sem_manifest` and `sem_crops` of frames that nobody says much about."""

import numpy as np
import pandas as pd

from ncm_kedro.sem.crops.regions import REGION_COLUMNS


def list_frame(class_name, name, **known):
    """Row of a frame of 100 x 100 px of 1 um; `known` are further or other columns."""
    composition, _, state = class_name.partition("_")
    row = {
        "frame_id": f"{class_name}/{name}", "file": f"{class_name}/{name}.png",
        "class": class_name, "composition": composition, "state": state or "pristine",
        "session": f"{class_name}/s01", "mosaic": f"{class_name}/m01", "mosaic_x_px": 0.0,
        "mosaic_y_px": 0.0, "height_px": 100, "width_px": 100, "pixel_size_um": 1.0,
        "pixel_size_source": "metadata", "magnification": np.nan,
        "accelerating_voltage_kv": np.nan, "instrument": None, "acquired_at": pd.NaT,
        "sidecar_json": "{}", "flags": "", "excluded": False, "exclusion_reason": None,
    }  # fmt: skip
    return {**row, **known}


def list_crop(frame_id, name, xy_px, *, size_px, split, frame_px, **known):
    """Row of a crop in a square frame that is a mosaic, a region and an area of its own."""
    row = {
        "crop_id": f"{frame_id}@{name}", "frame_id": frame_id,
        "class": frame_id.partition("/")[0], "x_px": int(xy_px[0]), "y_px": int(xy_px[1]),
        "size_px": size_px, "split": split, "mosaic": frame_id, "area": frame_id,
        **dict(zip(REGION_COLUMNS, (0, 0, frame_px, frame_px), strict=True)),
    }  # fmt: skip
    return {**row, **known}
