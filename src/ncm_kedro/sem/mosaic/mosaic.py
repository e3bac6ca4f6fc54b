"""Positions of frames in mosaics, and their sessions at the microscope.

A spanning tree over the links of highest score gives first positions; links that contradict them
are dropped; least squares over the others spreads the remaining errors, and links with a large
residual are dropped in a second pass.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array, diags_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.sparse.linalg import spsolve

from ncm_kedro.params.sem_ingest import MosaicParams
from ncm_kedro.sem.io.sidecar import session_settings
from ncm_kedro.sem.mosaic.geometry import (
    PIXEL_SIZE_STEP,
    PLACE_COLUMNS,
    corners,
    map_points,
    place_by_shift,
    split_matrices,
)
from ncm_kedro.sem.mosaic.merging import Views, describe_views, merge_sheets
from ncm_kedro.sem.mosaic.registration import IndexArray
from ncm_kedro.units import natural_key

_LOG = logging.getLogger(__name__)
_TREE_SLACK = 6.0
_ANCHOR = 1e-9
_SETTINGS = ("magnification", "accelerating_voltage_kv", "instrument", "pixel_size_um")


def build_mosaics(
    manifest: pd.DataFrame, overlaps: pd.DataFrame, params: MosaicParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Assign session, mosaic and place to each frame.

    Parameters
    ----------
    overlaps
        What `find_overlaps` returned.

    Returns
    -------
    manifest
        A copy with `session`, `mosaic` (``<class>/m01`` ..., in order of time) and the place in
        it: a pixel (x, y) of the frame is reversed in x where `mosaic_mirrored`, enlarged by
        `mosaic_scale`, turned clockwise by `mosaic_angle_deg` and moved to `mosaic_x_px` and
        `mosaic_y_px`. Most frames of a mosaic are moved only; its own corner is 0, 0.
    links
        The overlaps with `kind` (``same_class`` or ``label_conflict``), `used` (False: it
        contradicts the mosaic, or joins two classes) and `residual_px` (distance from where the
        mosaic has it; not a number for a label conflict).
    """
    ordered = order_by_time(manifest).reset_index(drop=True)
    index = pd.Series(np.arange(len(ordered)), index=ordered["frame_id"])
    links = overlaps.copy()
    first = index.loc[links["frame_a"]].to_numpy()
    second = index.loc[links["frame_b"]].to_numpy()
    classes = ordered["class"].to_numpy()
    same = classes[first] == classes[second]
    plain = same & ~links["mirrored"].to_numpy(bool)
    plain &= (links["scale"] == 1.0).to_numpy() & (links["angle_deg"] == 0.0).to_numpy()
    shift_yx = links[["dy_px", "dx_px"]].to_numpy(np.float64)
    loose_px = 2 * ordered["width_px"].max() / params.thumbnail_width_px if len(ordered) else 0.0
    tolerance_px = np.where(links["refined"], params.max_residual_px, loose_px)
    solved = solve_positions(
        len(ordered),
        first[plain],
        second[plain],
        shift_yx[plain],
        score=links["score"].to_numpy()[plain],
        tolerance_px=tolerance_px[plain],
    )
    links["kind"] = np.where(same, "same_class", "label_conflict")
    links["used"] = False
    links["residual_px"] = np.nan
    links.loc[plain, "used"] = solved.used
    links.loc[plain, "residual_px"] = solved.residual_px
    across = np.flatnonzero(same & links["residual_px"].isna().to_numpy())
    matrices, component, residual_px = merge_sheets(
        place_by_shift(solved.position_yx),
        solved.component,
        ordered[["width_px", "height_px"]].to_numpy(np.float64),
        Views(first[across], second[across], *describe_views(links.iloc[across])),
        loose_px,
    )
    links.loc[links.index[across], "residual_px"] = residual_px
    links.loc[links.index[across], "used"] = residual_px <= loose_px
    ordered["session"] = assign_sessions(ordered, params)
    ordered["mosaic"] = _name_mosaics(classes, number_by_first(component))
    ordered = ordered.assign(**_describe_places(ordered, matrices))
    placed = ordered.set_index("frame_id")[["session", "mosaic", *PLACE_COLUMNS]]
    result = manifest.copy()
    for name in placed.columns:
        result[name] = placed[name].loc[manifest["frame_id"]].to_numpy()
    result = result.astype({"session": "str", "mosaic": "str"})
    _LOG.info(
        "%d mosaics; %d of %d links contradict them and are dropped; %d label conflicts",
        result["mosaic"].nunique(),
        int((same & ~links["used"]).sum()),
        int(same.sum()),
        int((~same).sum()),
    )
    return result, links


def _describe_places(
    ordered: pd.DataFrame, matrices: NDArray[np.float64]
) -> dict[str, NDArray[np.float64] | NDArray[np.bool_]]:
    """Columns of the places in mosaics whose own corner is 0, 0."""
    extent_xy = ordered[["width_px", "height_px"]].to_numpy(np.float64)
    lowest = pd.DataFrame(map_points(matrices, corners(extent_xy)).min(axis=1))
    origin_xy = lowest.groupby(ordered["mosaic"].to_numpy()).transform("min").to_numpy()
    corner_xy = matrices[:, :, 2] - origin_xy
    values = (corner_xy[:, 0], corner_xy[:, 1], *split_matrices(matrices))
    return dict(zip(PLACE_COLUMNS, values, strict=True))


def _name_mosaics(classes: NDArray[np.object_], component: NDArray[np.int_]) -> NDArray[np.object_]:
    """Name the components of each class, numbered by the time of their first frame."""
    table = pd.DataFrame({"class": classes, "component": component})
    number = table.groupby("class")["component"].transform(lambda part: pd.factorize(part)[0] + 1)
    return np.array(
        [f"{name}/m{count:02d}" for name, count in zip(classes, number, strict=True)], dtype=object
    )


@dataclass(frozen=True)
class Placement:
    """Where the frames lie.

    Parameters
    ----------
    position_yx
        Top-left corner in its component, ``(N, 2)`` (px), smallest value 0.
    component
        Number of the connected component, ``(N,)``, in order of its first frame.
    used
        Whether a link agrees with the places, ``(P,)``.
    residual_px
        Distance between a link's offset and the places, ``(P,)``; not a number where the link's
        frames are in two components.
    """

    position_yx: NDArray[np.float64]
    component: NDArray[np.int_]
    used: NDArray[np.bool_]
    residual_px: NDArray[np.float64]


def solve_positions(
    n_frames: int,
    first: IndexArray,
    second: IndexArray,
    shift_yx: NDArray[np.float64],
    *,
    score: NDArray[np.float64],
    tolerance_px: NDArray[np.float64],
) -> Placement:
    """Solve for the places of all frames.

    Parameters
    ----------
    first, second
        Linked frames, ``(P,)``.
    shift_yx
        Place of the second relative to the first, ``(P, 2)`` (px).
    score
        Score of each link, ``(P,)``, positive.
    tolerance_px
        Largest residual that each link may have, ``(P,)`` (px).
    """
    rough_yx = _place_by_tree(n_frames, first, second, shift_yx, score)
    used = _residuals(rough_yx, first, second, shift_yx) <= _TREE_SLACK * tolerance_px
    position_yx = rough_yx
    for _ in range(2):
        position_yx = _place_by_least_squares(
            n_frames, first[used], second[used], shift_yx[used], 1 / tolerance_px[used] ** 2
        )
        used = used & (_residuals(position_yx, first, second, shift_yx) <= tolerance_px)
    position_yx = _place_by_least_squares(
        n_frames, first[used], second[used], shift_yx[used], 1 / tolerance_px[used] ** 2
    )
    component = find_components(n_frames, first[used], second[used])
    residual_px = _residuals(position_yx, first, second, shift_yx)
    residual_px[component[first] != component[second]] = np.nan
    return Placement(_shift_to_origin(position_yx, component), component, used, residual_px)


def _place_by_tree(
    n_frames: int,
    first: IndexArray,
    second: IndexArray,
    shift_yx: NDArray[np.float64],
    score: NDArray[np.float64],
) -> NDArray[np.float64]:
    cost = coo_array((1.0 / score, (first, second)), shape=(n_frames, n_frames))
    tree = minimum_spanning_tree(cost.tocsr())
    offset = {(int(a), int(b)): value for a, b, value in zip(first, second, shift_yx, strict=True)}
    position_yx = np.zeros((n_frames, 2))
    seen = np.zeros(n_frames, dtype=bool)
    for root in range(n_frames):
        if seen[root]:
            continue
        order, parents = breadth_first_order(tree, root, directed=False)
        seen[order] = True
        for node in order[1:].tolist():
            parent = int(parents[node])
            known = offset.get((parent, node))
            step = known if known is not None else -offset[(node, parent)]
            position_yx[node] = position_yx[parent] + step
    return position_yx


def _place_by_least_squares(
    n_frames: int,
    first: IndexArray,
    second: IndexArray,
    shift_yx: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Minimise the weighted squares of all residuals; each component floats about 0."""
    rows = np.tile(np.arange(len(first)), 2)
    signs = np.repeat([-1.0, 1.0], len(first))
    columns = np.concatenate([first, second])
    design = csc_array(coo_array((signs, (rows, columns)), shape=(len(first), n_frames)))
    scaled = design.T @ diags_array(weight)
    anchor = _ANCHOR * max(1.0, float(weight.max(initial=0.0)))
    normal = csc_array(scaled @ design + diags_array(np.full(n_frames, anchor)))
    right = scaled @ shift_yx
    return np.stack([np.asarray(spsolve(normal, right[:, axis])) for axis in (0, 1)], axis=1)


def _residuals(
    position_yx: NDArray[np.float64],
    first: IndexArray,
    second: IndexArray,
    shift_yx: NDArray[np.float64],
) -> NDArray[np.float64]:
    difference = position_yx[second] - position_yx[first] - shift_yx
    return np.asarray(np.hypot(difference[:, 0], difference[:, 1]), dtype=np.float64)


def find_components(n_frames: int, first: IndexArray, second: IndexArray) -> NDArray[np.int_]:
    """Return the connected component of each frame, numbered in order of their first frame.

    Parameters
    ----------
    first, second
        Linked frames, ``(P,)``.
    """
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(n_frames, n_frames))
    return number_by_first(connected_components(graph.tocsr(), directed=False)[1])


def number_by_first(labels: NDArray[np.int_]) -> NDArray[np.int_]:
    """Return labels ``(N,)`` numbered in order of their first appearance."""
    _, begins, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(begins), dtype=int)
    rank[np.argsort(begins)] = np.arange(len(begins))
    return rank[inverse]


def _shift_to_origin(
    position_yx: NDArray[np.float64], component: NDArray[np.int_]
) -> NDArray[np.float64]:
    corner = np.full((component.max(initial=-1) + 1, 2), np.inf)
    np.minimum.at(corner, component, position_yx)
    return position_yx - corner[component]


def order_by_time(manifest: pd.DataFrame) -> pd.DataFrame:
    """Sort frames by class, then time, then running number.

    A frame without a time takes that of the frame before it by running number.

    Parameters
    ----------
    manifest
        With `class`, `file` and `acquired_at`, in any order.
    """
    by_number = manifest.assign(_key=manifest["file"].map(natural_key)).sort_values(
        ["class", "_key"], kind="stable"
    )
    times = by_number.groupby("class")["acquired_at"].transform(lambda part: part.ffill().bfill())
    rank = np.arange(len(by_number))
    return (
        by_number.assign(_time=times, _rank=rank)
        .sort_values(["class", "_time", "_rank"], kind="stable")
        .drop(columns=["_key", "_time", "_rank"])
    )


def assign_sessions(ordered: pd.DataFrame, params: MosaicParams) -> NDArray[np.object_]:
    """Name the session of each frame, ``<class>/s01`` ....

    A session ends where the class ends, after a pause of `session_gap_h`, or where an instrument
    setting (magnification, voltage, instrument, pixel size, and as far as the sidecar has them
    focus, brightness, contrast) changes.

    Parameters
    ----------
    ordered
        Frames in the order of `order_by_time`.
    """
    classes = ordered["class"].to_numpy()
    begins = np.r_[True, classes[1:] != classes[:-1]] if len(ordered) else np.zeros(0, bool)
    gap_h = ordered["acquired_at"].ffill().diff().dt.total_seconds() / 3600
    begins |= gap_h.fillna(0).abs().to_numpy() > params.session_gap_h
    settings = pd.concat([ordered[list(_SETTINGS)], session_settings(ordered)], axis=1)
    for name in settings:
        begins |= _changes(settings[name], classes)
    number = pd.Series(begins).groupby(classes).cumsum()
    return np.array(
        [f"{name}/s{count:02d}" for name, count in zip(classes, number, strict=True)], dtype=object
    )


def _changes(values: pd.Series, classes: NDArray[np.object_]) -> NDArray[np.bool_]:
    filled = values.groupby(classes).transform(lambda part: part.ffill().bfill())
    if pd.api.types.is_numeric_dtype(filled):
        step = PIXEL_SIZE_STEP * filled.abs() if values.name == "pixel_size_um" else 0.0
        changed = filled.diff().abs() > step
    else:
        changed = (filled != filled.shift()) & filled.notna() & filled.shift().notna()
    return changed.fillna(False).to_numpy(dtype=bool)
