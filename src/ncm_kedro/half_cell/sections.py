"""From labelled voxels to the section of a half cell, and back to the measured particles."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage, stats
from skimage.measure import find_contours, label, regionprops

from ncm_kedro.errors import SettingsError, TomogramError
from ncm_kedro.half_cell.geometry import Outline, Section, measure_area
from ncm_kedro.params.half_cell.case import HalfCellParams
from ncm_kedro.params.half_cell.geometry import SectionParams
from ncm_kedro.tomo.volumes.volume import Volume

FloatArray = NDArray[np.float64]
_log = logging.getLogger(__name__)

_HARMONICS = 10  # of an outline; what is finer is the voxels, not the particle
_MARGIN_UM = 1.0  # CB around the window
_SHIFTS = 12  # places of the window per edge of it
_AREA_KEPT = 0.9  # of a particle in the plane, below which a warning names it


def cut_section(
    labels: Volume, grey: Volume, params: HalfCellParams
) -> tuple[Section, pd.DataFrame]:
    """Cut a plane across the electrode; take the window with the most complete particles in it.

    Particles that touch are parted by `min_gap_um`; those that the window cuts, or that are too
    small, are CB. The collector lies where ``axis_to_collector`` of `grey` says, else below z = 0.

    Returns
    -------
    section
        What is meshed.
    outlines
        ``name, sample, particle_id, area_um2, area_kept``: area in the plane, and the fraction of
        it that is left after parting and smoothing; ``attrs["labels"]`` identifies the labels.

    Raises
    ------
    TomogramError
        If no complete particle lies in any window.
    SettingsError
        If the cell is axisymmetric.
    """
    if params.material.symmetry == "axisymmetric":
        raise SettingsError(
            "half_cell.from_labels.material.symmetry",
            found="axisymmetric, which makes rings of the sections of particles",
            expected="generalised_plane_strain or plane_strain",
            action="change material.symmetry",
        )
    wanted = params.section or SectionParams()
    towards = str(grey.attributes.get("axis_to_collector") or "-z")
    ids_yx, edges_um = _read_plane(labels, towards, wanted.position)
    corner, chosen = _choose_window(ids_yx, edges_um, wanted)
    if not chosen:
        raise TomogramError(
            f"particle_labels of {labels.name}, section at {wanted.position:g}",
            found="no complete particle in any window",
            expected=f"a particle of at least {wanted.min_diameter_um:g} um within "
            f"{wanted.window_um:g} um",
            action="make section.window_um larger or section.min_diameter_um smaller, or choose "
            "another section.position",
        )
    outlines, rows = [], []
    for number in chosen:
        polygon, area_um2 = _trace(ids_yx, number, chosen, edges_um, wanted.min_gap_um)
        polygon = _resample(polygon, params.mesh.interface_um)
        moved = polygon - corner + _MARGIN_UM
        kept = measure_area(moved) / area_um2
        name = f"label {number}"
        if kept < _AREA_KEPT:
            _log.warning(
                "%s of %s keeps %.0f %% of its area in the plane; the rest counts as CB: its "
                "section is in parts, or touches others along much of its edge. Another "
                "section.position, or a smaller section.min_gap_um, keeps more",
                name, labels.name, 100 * kept,
            )  # fmt: skip
        outlines.append(Outline(name, polygon_nx2=moved))
        rows.append((name, labels.name, number, area_um2, kept))
    size = wanted.window_um + 2 * _MARGIN_UM
    high_yx = None
    if wanted.cb_from == "grey":
        grey_yx, _ = _read_plane(grey, towards, wanted.position)
        high_yx = _find_high(grey_yx, ids_yx, edges_um, params.mesh.interface_um)

    def is_high(x: FloatArray, y: FloatArray) -> NDArray[np.bool_]:
        if high_yx is None:
            return np.asarray(x < size / 2)
        at = [
            np.clip((where + start - _MARGIN_UM) / edge, 0, length - 1).astype(int)
            for where, start, edge, length in zip(
                (y, x), corner[::-1], edges_um, high_yx.shape, strict=True
            )
        ]
        return np.asarray(high_yx[at[0], at[1]])

    split = size / 2 if high_yx is None else None
    section = Section(
        tuple(outlines), size, size, params.layout.separator_um, is_high, split_x_um=split
    )
    columns = ["name", "sample", "particle_id", "area_um2", "area_kept"]
    table = pd.DataFrame(rows, columns=columns)
    table.attrs["labels"] = labels.attributes.get("fingerprint")
    return section, table


def pair_damage(
    outlines: pd.DataFrame, debonding: pd.DataFrame, attributes: pd.DataFrame
) -> pd.DataFrame:
    """Join the simulated interface damage of particles to their measured crack volume.

    Returns
    -------
    DataFrame
        ``name, particle_id, simulated, measured``; ``attrs["spearman"]`` holds the rank
        correlation, NaN below three particles. The one is of interfaces in a plane, the other of
        cracks inside particles: agreement of the ranks is what can be asked for.
    """
    simulated = debonding.set_index("name")["damage"]
    measured = attributes.set_index("particle_id")["damage"]
    pairs = outlines[["name", "particle_id"]].assign(
        simulated=outlines["name"].map(simulated), measured=outlines["particle_id"].map(measured)
    )
    known = pairs.dropna()
    pairs.attrs["spearman"] = (
        float(stats.spearmanr(known["simulated"], known["measured"]).statistic)
        if min(known["simulated"].nunique(), known["measured"].nunique()) > 2
        else math.nan
    )
    return pairs


def _read_plane(
    volume: Volume, towards: str, position: float
) -> tuple[NDArray[Any], tuple[float, float]]:
    """Read a plane: rows from the collector up, columns along it; and the edges of its voxels."""
    up = "zyx".index(towards[-1])
    across = 1 if up == 2 else 2
    along = 3 - up - across
    length = volume.shape_zyx[across]
    index: list[Any] = [slice(None)] * 3
    index[across] = min(int(position * length), length - 1)
    plane = np.asarray(volume.array[tuple(index)])
    rows = plane if up < along else plane.T
    edges_um = volume.voxel_size_um[up], volume.voxel_size_um[along]
    return rows if towards.startswith("-") else rows[::-1], edges_um


def _choose_window(
    ids_yx: NDArray[np.integer], edges_um: tuple[float, float], wanted: SectionParams
) -> tuple[FloatArray, list[int]]:
    """Return the lower corner (x, y in um) and the particles of the window that holds most."""
    boxes = []
    for found in regionprops(ids_yx):
        diameter = 2 * math.sqrt(found.area * math.prod(edges_um) / math.pi)
        top, left, bottom, right = found.bbox
        height, width = ids_yx.shape
        whole = min(top, left, height - bottom, width - right) > 0
        if whole and diameter >= wanted.min_diameter_um:
            box = (left * edges_um[1], top * edges_um[0], right * edges_um[1], bottom * edges_um[0])
            boxes.append((found.label, diameter, np.array(box)))
    edge = wanted.window_um
    spans = [
        max(length * size - edge, 0.0) for length, size in zip(ids_yx.shape, edges_um, strict=True)
    ]
    best: tuple[FloatArray, list[int]] = (np.zeros(2), [])
    for y in np.arange(0.0, spans[0] + 1e-9, edge / _SHIFTS):
        for x in np.arange(0.0, spans[1] + 1e-9, edge / _SHIFTS):
            inside = [
                (diameter, number)
                for number, diameter, box in boxes
                if min(box[0] - x, box[1] - y, x + edge - box[2], y + edge - box[3]) >= 0
            ]
            if len(inside) > len(best[1]):
                best = np.array([x, y]), [number for _, number in sorted(inside, reverse=True)]
    return best[0], sorted(best[1][: wanted.particles_max])


def _trace(
    ids_yx: NDArray[np.integer],
    number: int,
    chosen: list[int],
    edges_um: tuple[float, float],
    gap_um: float,
) -> tuple[FloatArray, float]:
    """Trace a particle after parting it from the others; (N, 2) x, y in um, and its area before."""
    others = np.isin(ids_yx, [one for one in chosen if one != number])
    own = ids_yx == number
    area_um2 = float(own.sum() * math.prod(edges_um))
    far = (
        ndimage.distance_transform_edt(~others, sampling=edges_um) >= gap_um / 2 + max(edges_um) / 2
    )
    parts = label(ndimage.binary_fill_holes(own & far))
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    padded = np.pad(largest, 1)  # a contour closes only where it has an outside
    contour = max(find_contours(padded.astype(float), 0.5), key=len) - 1.0
    return (contour[:, ::-1] + 0.5) * np.array(edges_um[::-1]), area_um2


def _resample(points_nx2: FloatArray, spacing_um: float) -> FloatArray:
    """Smooth a closed outline to its first harmonics; corners a given way apart, ccw."""
    steps = np.hypot(*np.diff(points_nx2, axis=0).T)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    even = np.linspace(0.0, way[-1], 256, endpoint=False)
    curve = np.interp(even, way, points_nx2[:, 0]) + 1j * np.interp(even, way, points_nx2[:, 1])
    spectrum = np.fft.fft(curve)
    spectrum[_HARMONICS + 1 : -_HARMONICS] = 0.0
    count = max(int(way[-1] / spacing_um), 8)
    at = np.arange(count) / count
    frequency = np.fft.fftfreq(256, 1 / 256)
    smooth = (spectrum[None] * np.exp(2j * np.pi * at[:, None] * frequency[None])).sum(1) / 256
    polygon = np.column_stack([smooth.real, smooth.imag])
    return polygon if measure_area(polygon) > 0 else polygon[::-1]


def _find_high(
    grey_yx: NDArray[Any],
    ids_yx: NDArray[np.integer],
    edges_um: tuple[float, float],
    blur_um: float,
) -> NDArray[np.bool_]:
    """Find where CB is brighter than its median; in particles, as the nearest CB.

    Noise is blurred over the edge of an element, without the brightness of particles.
    """
    outside = ids_yx == 0
    nearest = ndimage.distance_transform_edt(
        ~outside, sampling=edges_um, return_distances=False, return_indices=True
    )
    only_cb = grey_yx[tuple(nearest)].astype(np.float32)
    smooth = ndimage.gaussian_filter(only_cb, [blur_um / edge for edge in edges_um])
    return np.asarray(smooth > np.median(smooth[outside]))
