"""Drawing the pictures that experts are asked about, from ground that no model was trained on.

The survey of Oh et al. 2024 (section 'Performance of CNN', Fig. 2c) showed 19 frames. Here a
picture is the part of a frame that belongs to one split, since mosaics may be cut between splits.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import TableError
from ncm_kedro.params.sem_classify import SurveyDrawParams
from ncm_kedro.sem.crops.crop_set import REGION_COLUMNS, hash_split
from ncm_kedro.sem.crops.regions import class_generator

SPLITS_BY_PREFERENCE = ("test", "validate", "train")
BOX = ("x0_px", "y0_px", "x1_px", "y1_px")
KEY_COLUMNS = (
    "survey_id", "question", "frame_id", *BOX, "class", "composition", "state", "pixel_size_um",
    "split", "overlaps_other", "split_hash",
)  # fmt: skip

_LOG = logging.getLogger(__name__)
_LARGE_SHARE = 0.5
_ID_LENGTH = 12
_PURPOSE = "survey"


@dataclass(frozen=True)
class Survey:
    """What is asked, and the right answers.

    Attributes
    ----------
    key
        A row per picture in the order of the quiz: `KEY_COLUMNS`. `question` counts from 1; the box
        is the part of the frame that is shown; `overlaps_other` says that an earlier drawn picture
        shows some of the same ground; `split_hash` names the crop table that `split` is from.
    classes
        A row per class that may be answered: `class`, `composition`, `state`, `pictures` (drawn).
    """

    key: pd.DataFrame
    classes: pd.DataFrame

    @property
    def survey_id(self) -> str:
        """Digest of the pictures and the choices."""
        return str(self.key["survey_id"].iloc[0])


def draw_survey(
    frames: Mapping[str, NDArray[np.uint8]],
    manifest: pd.DataFrame,
    crops: pd.DataFrame,
    params: SurveyDrawParams,
) -> Survey:
    """Draw pictures, as many of each class as of any other, in shuffled order.

    Test ground comes first, then validation, then training ground, class by class. Within a class,
    pictures that share no ground come first, and of these the larger ones.

    Parameters
    ----------
    frames
        Grey frames by ``frame_id``, (H, W), banner cut.
    manifest
        Frame table; excluded frames and electrodes with additives are not shown.
    crops
        Crop table; says which part of a frame belongs to which split.
    params
        How many, and the seed.

    Raises
    ------
    TableError
        There is no frame to show, or one class alone.
    """
    views = _list_views(manifest, crops)
    classes = _list_classes(views)
    rng = np.random.default_rng(params.seed)
    available = views.groupby("class", sort=True).size().reindex(classes["class"])
    counts = allocate_images(np.asarray(available, dtype=np.int64), params.pictures, rng)
    drawn = pd.concat(
        [
            _draw_class(views[views["class"] == name], count, params.seed)
            for name, count in zip(classes["class"], counts, strict=True)
        ],
        ignore_index=True,
    )
    key = drawn.iloc[rng.permutation(len(drawn))].reset_index(drop=True)
    key["question"] = np.arange(1, len(key) + 1)
    key["split_hash"] = hash_split(crops)
    key["survey_id"] = identify_survey(frames, key, classes["class"].tolist())
    _warn_compromises(key, params.pictures)
    return Survey(key[list(KEY_COLUMNS)], classes.assign(pictures=counts))


def allocate_images(
    available: NDArray[np.int64], total: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Share out pictures among classes as evenly as what is there allows.

    Parameters
    ----------
    available
        (K,) pictures that each class has.
    total
        Pictures wanted; all are taken where there are fewer.
    rng
        Decides which classes get the remainder.

    Returns
    -------
    ndarray, (K,)
        At most one more for any class than for another that still has some.
    """
    given = np.zeros(len(available), dtype=np.int64)
    turn = rng.permutation(len(available))
    for _ in range(min(total, int(available.sum()))):
        open_classes = [place for place in turn if given[place] < available[place]]
        given[min(open_classes, key=lambda place: given[place])] += 1
    return given


def cut_view(frames: Mapping[str, NDArray[np.uint8]], row: Mapping[Any, Any]) -> NDArray[np.uint8]:
    """Cut the picture that a row of the key describes, (h, w)."""
    x0, y0, x1, y1 = (int(row[side]) for side in BOX)
    return frames[str(row["frame_id"])][y0:y1, x0:x1]


def identify_survey(
    frames: Mapping[str, NDArray[np.uint8]], key: pd.DataFrame, classes: list[str]
) -> str:
    """Return a digest that changes with any pixel shown, with the order and with the choices."""
    digest = hashlib.sha256("\n".join(classes).encode())
    for row in key.to_dict("records"):
        view_yx = cut_view(frames, row)
        digest.update(f"{row['frame_id']} {view_yx.shape} {row['class']}".encode())
        digest.update(np.ascontiguousarray(view_yx).tobytes())
    return digest.hexdigest()[:_ID_LENGTH]


def _list_views(manifest: pd.DataFrame, crops: pd.DataFrame) -> pd.DataFrame:
    """List the parts of frames that may be shown, of the best split that each class has."""
    kept = manifest[~manifest["excluded"].astype(bool)]
    kept = kept[kept["additive"].fillna("").astype(str) == ""]
    named = ["frame_id", "composition", "state", "pixel_size_um", "mosaic_x_px", "mosaic_y_px"]
    regions = crops[["frame_id", "split", "class", "mosaic", *REGION_COLUMNS]].drop_duplicates()
    views = regions.merge(kept[named], on="frame_id").rename(
        columns=dict(zip(REGION_COLUMNS, BOX, strict=True))
    )
    rank = views["split"].map({name: n for n, name in enumerate(SPLITS_BY_PREFERENCE)})
    best = rank.groupby(views["class"]).transform("min")
    views = views[rank == best].sort_values(["class", "frame_id", *BOX], ignore_index=True)
    if views["class"].nunique() < 2:
        raise TableError(
            "sem_crops",
            found=f"frames of {views['class'].nunique()} classes that can be shown",
            expected="kept frames, without additives, of at least two classes",
            action="run sem_ingest and crop_augment on frames of further compositions or states",
        )
    return views


def _list_classes(views: pd.DataFrame) -> pd.DataFrame:
    columns = ["class", "composition", "state"]
    return views[columns].drop_duplicates("class").sort_values("class", ignore_index=True)


def _draw_class(views: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Draw of one class: disjoint ground first, then what shares some."""
    rng = class_generator(seed, str(views["class"].iloc[0]), _PURPOSE)
    views = views.iloc[rng.permutation(len(views))].reset_index(drop=True)
    boxes = _place_boxes(views)
    area_px2 = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    order = np.argsort(area_px2 < _LARGE_SHARE * area_px2.max(), kind="stable")
    mosaics = views["mosaic"].to_numpy()
    disjoint: list[int] = []
    for place in order:
        mine = [other for other in disjoint if mosaics[other] == mosaics[place]]
        if not _overlap(boxes[place], boxes[mine]):
            disjoint.append(int(place))
    rest = [int(place) for place in order if int(place) not in disjoint]
    chosen = [*disjoint, *rest][:count]
    return views.iloc[chosen].assign(overlaps_other=[place in rest for place in chosen])


def _place_boxes(views: pd.DataFrame) -> NDArray[np.float64]:
    """(N, 4) boxes in the coordinates of their mosaics."""
    shift = views[["mosaic_x_px", "mosaic_y_px"]].to_numpy(np.float64)
    boxes: NDArray[np.float64] = views[list(BOX)].to_numpy(np.float64) + np.tile(shift, 2)
    return boxes


def _overlap(box: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    return bool((high > low).all(axis=1).any())


def _warn_compromises(key: pd.DataFrame, wanted: int) -> None:
    if len(key) < wanted:
        _LOG.warning("the survey has %d pictures, not %d: there are no more", len(key), wanted)
    seen = int((key["split"] != SPLITS_BY_PREFERENCE[0]).sum())
    if seen:
        _LOG.warning("%d pictures of the survey are not from the test split", seen)
    shared = int(key["overlaps_other"].sum())
    if shared:
        _LOG.warning("%d pictures of the survey share ground with others in it", shared)
