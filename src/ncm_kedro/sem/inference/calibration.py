"""What is put before a network to calibrate it, beside the crops of the splits.

Tiles of validation frames, as `sem_classify` cuts them, and foreign crops: patterns that are no
micrographs of the classes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.data.frame_bank import FrameBank, build_frame_bank
from ncm_kedro.params.sem_classify import ClassifyParams
from ncm_kedro.sem.crops.crop_set import CropSet
from ncm_kedro.sem.crops.regions import REGION_COLUMNS
from ncm_kedro.sem.inference.classify import plan_tiles

_FRAMES_PER_MOSAIC = 4
_FOREIGN_CROPS = 96
_NOISE = 3.0  # grey levels


def index_frame_tiles(crop_set: CropSet) -> tuple[CropIndex, NDArray[np.int64], tuple[str, ...]]:
    """Tile validation frames, or the parts of them that belong to the split.

    Of each mosaic a few frames are taken, spread over its frames in the order of their names.

    Returns
    -------
    tiles
        T tiles.
    frame
        (T,) number of the frame that each tile lies in.
    mosaics
        (F,) mosaic of each frame.
    """
    table = crop_set.tables["validate"].drop_duplicates("frame_id").sort_values("frame_id")
    groups = [rows for _, rows in table.groupby("mosaic", sort=True)]
    picked = pd.concat([rows.iloc[_spread(len(rows), _FRAMES_PER_MOSAIC)] for rows in groups])
    size_px, overlap = crop_set.crop_px, ClassifyParams().overlap
    corners, frame = [], []
    for number, box in enumerate(picked[list(REGION_COLUMNS)].to_numpy(np.int64)):
        tiles = plan_tiles(box[3] - box[1], box[2] - box[0], size_px, overlap)
        corners.append(tiles + box[:2])
        frame += [number] * len(tiles)
    corner, owner = np.concatenate(corners), np.array(frame, dtype=np.int64)
    labels = picked["class"].map({name: n for n, name in enumerate(crop_set.classes)})
    index = CropIndex(
        frame=crop_set.bank.find_rows(picked["frame_id"].tolist())[owner],
        x_px=corner[:, 0],
        y_px=corner[:, 1],
        size_px=np.full(len(owner), size_px, dtype=np.int64),
        label=np.asarray(labels, dtype=np.int64)[owner],
    )
    return index, owner, tuple(picked["mosaic"].astype(str))


def plant_foreign(crop_set: CropSet, seed: int) -> tuple[FrameBank, CropIndex]:
    """Draw foreign crops, each with mean and contrast of a validation crop.

    Half are gratings, half are large plates of one grey each.
    """
    rows = _spread(len(crop_set.indices["validate"]), _FOREIGN_CROPS)
    rng, size_px = np.random.default_rng(seed), crop_set.crop_px
    images = {}
    for number, row in enumerate(rows):
        (crop_yx,) = crop_set.cut_pixels("validate", slice(row, row + 1))
        pattern_yx = (draw_plates if number % 2 else draw_grating)(size_px, rng)
        scaled_yx = (pattern_yx - pattern_yx.mean()) / pattern_yx.std() * crop_yx.std()
        noisy_yx = scaled_yx + crop_yx.mean() + rng.normal(0.0, _NOISE, crop_yx.shape)
        images[f"foreign {number:04d}"] = np.clip(np.rint(noisy_yx), 0, 255).astype(np.uint8)
    return build_frame_bank(images), CropIndex.of_whole_frames(len(images), size_px)


def draw_grating(size_px: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Stripes (S, S) of 3 to 20 periods in a random direction."""
    angle, phase = rng.uniform(0.0, 2.0 * np.pi, 2)
    y, x = np.mgrid[:size_px, :size_px] / size_px
    along = x * np.cos(angle) + y * np.sin(angle)
    return np.asarray(np.sin(2.0 * np.pi * rng.uniform(3.0, 20.0) * along + phase))


def draw_plates(size_px: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Voronoi cells (S, S) of 6 to 15 random points, each of its own grey."""
    points_yx = rng.uniform(0, size_px, (rng.integers(6, 16), 2))
    places_yx = np.argwhere(np.ones((size_px, size_px), np.bool_))
    cell = cKDTree(points_yx).query(places_yx)[1]
    return np.asarray(rng.normal(size=len(points_yx))[cell].reshape(size_px, size_px))


def _spread(count: int, wanted: int) -> NDArray[np.int64]:
    """Evenly spaced positions, at most ``wanted`` of ``count``."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.int64))
