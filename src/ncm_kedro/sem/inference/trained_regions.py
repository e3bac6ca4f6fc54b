"""Which frames of new electrodes show a region of the frames that a classifier was trained on."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.learning.models.classifier import ClassifierSettings
from ncm_kedro.params.sem_ingest import MosaicParams
from ncm_kedro.sem.crops.crop_set import hash_split
from ncm_kedro.sem.io.frames import Frames
from ncm_kedro.sem.mosaic.geometry import PIXEL_SIZE_STEP, frame_matrices, invert, map_points
from ncm_kedro.sem.mosaic.registration import IndexArray
from ncm_kedro.sem.mosaic.views import compare_frames

_LOG = logging.getLogger(__name__)
_GRID = 6
_SEEN_DEG = 0.5
_COMPARED = ["frame_id", "height_px", "width_px", "pixel_size_um", "pixel_size_source"]


def find_trained_regions(
    frames: Frames,
    manifest: pd.DataFrame,
    settings: ClassifierSettings,
    *,
    trained_frames: Frames | None,
    trained_manifest: pd.DataFrame | None,
    crops: pd.DataFrame | None,
    params: MosaicParams,
) -> dict[str, Any]:
    """Find frames that show a region of the training frames, at any magnification or orientation.

    All frames of mosaics that crops were cut from count as training frames, whatever the split.
    Not every one of them is compared, but frames that together show all that they show.

    Parameters
    ----------
    manifest
        A row per new frame; excluded ones are not compared.
    trained_frames, trained_manifest, crops
        What the project's training left; None where there is nothing.

    Returns
    -------
    dict
        Ready for JSON: `problem` (why nothing could be checked, or null), `n_frames` (of new
        electrodes, compared; `classes`: per class), `n_trained_frames`, `pairs_compared`,
        `pairs_skipped` (beyond ``max_view_pairs``), and `views`, one per frame that shows such a
        region: `frame_id`, `class`, `trained_frame`, `overlap` (fraction of the smaller frame),
        `reason`.
    """
    new = manifest[~manifest["excluded"].astype(bool)]
    found: dict[str, Any] = {
        "problem": None, "n_frames": len(new), "n_trained_frames": 0, "pairs_compared": 0,
        "pairs_skipped": 0, "views": [],
        "classes": {str(name): len(rows) for name, rows in new.groupby("class", sort=True)},
    }  # fmt: skip
    if trained_frames is None or trained_manifest is None or crops is None:
        return _give_up(found, "no training frames are at hand")
    problem = _find_problem(settings, trained_frames, trained_manifest, crops)
    if problem is not None:
        return _give_up(found, problem)
    cut = trained_manifest["frame_id"].isin(set(crops["frame_id"]))
    mosaics = trained_manifest.loc[cut, "mosaic"]
    usable = trained_manifest["mosaic"].isin(set(mosaics))
    usable &= ~trained_manifest["excluded"].astype(bool)
    trained = trained_manifest[usable].reset_index(drop=True)
    views, compared, skipped = _compare(frames, new, trained_frames, trained, params)
    class_of = dict(zip(new["frame_id"], new["class"], strict=True))
    found |= {
        "n_trained_frames": len(trained),
        "pairs_compared": compared,
        "pairs_skipped": skipped,
        "views": [{**view, "class": str(class_of[view["frame_id"]])} for view in views],
    }
    log = _LOG.warning if views else _LOG.info
    log(
        "%d of %d frames show a region of the %d training frames (%d pairs compared, %d not)",
        len(views), len(new), len(trained), compared, skipped,
    )  # fmt: skip
    return found


def list_notes(found: Mapping[str, Any]) -> list[str]:
    """Say what `find_trained_regions` found, for a report."""
    if found["problem"] is not None:
        return [
            "Not checked whether frames show a region that the model was trained on, because "
            f"{found['problem']}. Such frames score too well. `kedro run --pipelines sem` trains "
            "on the frames of this project and compares with these."
        ]
    notes = []
    if found["views"]:
        per_class = pd.Series([view["class"] for view in found["views"]]).value_counts()
        named = ", ".join(
            f"{name}: {count} of {found['classes'][name]}"
            for name, count in per_class.sort_index().items()
        )
        notes.append(
            f"{len(found['views'])} of {found['n_frames']} frames show a region of the frames that "
            f"the model was trained or tested on; they are not scored ({named})."
        )
    if found["pairs_skipped"]:
        pairs = found["pairs_skipped"] + found["pairs_compared"]
        notes.append(
            f"{found['pairs_skipped']} of {pairs} pairs of a new and a training frame were not "
            "compared (sem_ingest.mosaic.max_view_pairs): frames that show a region that the "
            "model was trained on may be among those scored."
        )
    return notes


def choose_covering_frames(manifest: pd.DataFrame) -> IndexArray:
    """Choose few frames that together show what all show, mosaic by mosaic.

    A frame counts as shown where the centres of its cells, ``6 x 6``, lie in chosen frames.

    Parameters
    ----------
    manifest
        `mosaic` of each frame, its place there, `height_px` and `width_px`; index 0, 1, ....

    Returns
    -------
    ndarray
        Numbers of the chosen frames, ascending.
    """
    chosen = [
        group.index.to_numpy()[_cover(group)] for _, group in manifest.groupby("mosaic", sort=True)
    ]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.intp)


def _cover(group: pd.DataFrame) -> IndexArray:
    """Take the frame that shows most of what is not yet shown, until all is."""
    extents_xy = group[["width_px", "height_px"]].to_numpy(np.float64)
    steps = (np.arange(_GRID) + 0.5) / _GRID
    cells_xy = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    matrices = frame_matrices(group)
    points_xy = map_points(matrices, extents_xy[:, None] * cells_xy).reshape(-1, 2)
    shown = np.empty((len(group), len(points_xy)), dtype=bool)
    for row, (matrix, extent_xy) in enumerate(zip(matrices, extents_xy, strict=True)):
        place_xy = map_points(invert(matrix), points_xy)
        shown[row] = ((place_xy >= 0) & (place_xy <= extent_xy)).all(axis=1)
    chosen, left = [], np.ones(len(points_xy), dtype=bool)
    gain = shown.sum(axis=1)
    while left.any():
        best = int(gain.argmax())
        chosen.append(best)
        newly = shown[best] & left
        left &= ~newly
        gain = gain - shown[:, newly].sum(axis=1)
    return np.array(chosen, dtype=np.intp)


class _JointFrames(Mapping[str, NDArray[np.uint8]]):
    """Sets of frames, whose identities begin with the name of their set."""

    def __init__(self, **sets: Frames) -> None:
        self._sets = sets

    def __getitem__(self, name: str, /) -> NDArray[np.uint8]:
        owner, _, frame_id = name.partition(":")
        return self._sets[owner][frame_id]

    def __iter__(self) -> Iterator[str]:
        return (f"{owner}:{name}" for owner, frames in self._sets.items() for name in frames)

    def __len__(self) -> int:
        return sum(map(len, self._sets.values()))


def _compare(
    frames: Frames,
    new: pd.DataFrame,
    trained_frames: Frames,
    trained: pd.DataFrame,
    params: MosaicParams,
) -> tuple[list[dict[str, Any]], int, int]:
    """Compare each new frame with frames that stand for all training frames."""
    chosen = trained.loc[choose_covering_frames(trained), _COMPARED]
    parts = {"new": new[_COMPARED], "trained": chosen}
    joint = pd.concat(
        [part.assign(frame_id=f"{owner}:" + part["frame_id"]) for owner, part in parts.items()],
        ignore_index=True,
    )
    first, second = np.indices((len(new), len(chosen))).reshape(2, -1)
    images = _JointFrames(new=frames, trained=trained_frames)
    table, compared, skipped = compare_frames(images, joint, first, second + len(new), params)
    if not len(table):
        return [], compared, skipped
    best = table.sort_values("score", ascending=False, kind="stable").drop_duplicates("frame_a")
    views = [_describe_view(row) for row in best.sort_values("frame_a").to_dict("records")]
    return views, compared, skipped


def _describe_view(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """How a training frame, ``frame_b``, lies in a new one, ``frame_a``."""
    trained_frame = str(row["frame_b"]).partition(":")[2]
    how = [f"{row['overlap']:.0%} of the smaller frame"]
    if abs(np.log(row["scale"])) > np.log1p(PIXEL_SIZE_STEP):
        how.append(f"enlarged x{row['scale']:.2g}")
    if abs(row["angle_deg"]) > _SEEN_DEG:
        how.append(f"turned by {row['angle_deg']:.0f} degrees")
    how += [name for name in ("mirrored", "inverted") if row[name]]
    return {
        "frame_id": str(row["frame_a"]).partition(":")[2],
        "trained_frame": trained_frame,
        "overlap": float(row["overlap"]),
        "reason": "shows a region that the model was trained or tested on "
        f"(frame {trained_frame}: {', '.join(how)})",
    }


def _give_up(found: dict[str, Any], problem: str) -> dict[str, Any]:
    _LOG.warning("not checked whether frames show a region of the training frames: %s", problem)
    return found | {"problem": problem}


def _find_problem(
    settings: ClassifierSettings, frames: Frames, manifest: pd.DataFrame, crops: pd.DataFrame
) -> str | None:
    """Why the frames at hand are not those that the classifier was trained on, if so."""
    if settings.split_hash is None:
        return "the model does not say which frames it was trained on"
    if settings.split_hash != hash_split(crops):
        return "the training frames of this project are not those of the model"
    listed = set(manifest["frame_id"])
    missing = [name for name in sorted(set(crops["frame_id"])) if name not in listed]
    missing += [name for name in sorted(listed) if name not in frames]
    if missing:
        return f"{len(missing)} training frames are not at hand any more, such as {missing[0]}"
    return None
