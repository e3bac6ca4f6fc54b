"""Grey values of a volume on the detection grid, normalised for the network.

The particles' diameter estimated from a few sections at a series of scales.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ncm_kedro.errors import StoreError
from ncm_kedro.tomo.detector.detector import Detector
from ncm_kedro.tomo.fusion.maps import (
    DIRECTIONS,
    FloatArray,
    GreyScale,
    open_scratch,
)
from ncm_kedro.tomo.fusion.scale import (
    DetectionGrid,
    GreyReading,
    Source,
    choose_source,
    make_grid,
    read_masked,
    resample_box,
)
from ncm_kedro.tomo.volumes.blocks import Block
from ncm_kedro.tomo.volumes.volume import (
    GREY_PERCENTILES,
    Triple,
    Volume,
    measure_grey_range,
    normalise_sections,
)

_SAMPLE_EDGE = 48  # voxels
_SAMPLES = 4  # along each axis
_INSIDE = 0.5
_HISTOGRAM = (4096, -1.0, 3.0)  # bins, and their span in the sample's scale


@dataclass(frozen=True)
class GreySample:
    """Grey values of a volume as a sample of it has them.

    Attributes
    ----------
    low, high
        Percentiles 1 and 99.8.
    median
        Fills what is outside the field of view.
    """

    low: float
    high: float
    median: float


def sample_grey(volume: Volume, source: Source) -> GreySample:
    """Sample the grey values inside the field of view on a lattice of boxes.

    Parameters
    ----------
    source
        The level that the detection grid is made from.

    Raises
    ------
    StoreError
        If nothing is inside the field of view, or all grey values are the same.
    """
    values = np.concatenate([
        box.ravel() if inside is None else box[inside]
        for box, inside in read_samples(volume, source)
    ])  # fmt: skip
    low, high = np.percentile(values, GREY_PERCENTILES)
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return GreySample(float(low), float(high), float(np.median(values)))


def read_samples(
    volume: Volume, source: Source
) -> list[tuple[FloatArray, NDArray[np.bool_] | None]]:
    """Read a lattice of boxes, each with what is inside the field of view (None: all of it).

    Raises
    ------
    StoreError
        If nothing is inside the field of view, or all grey values are the same.
    """
    boxes = [read_masked(source, region) for region in _list_samples(source)]
    boxes = [(box, inside) for box, inside in boxes if inside is None or inside.any()]
    if not boxes:
        whole = read_masked(source, tuple(slice(0, n) for n in source.array.shape))  # type: ignore[arg-type]
        boxes = [whole] if whole[1] is None or whole[1].any() else []
    if not boxes:
        raise _useless(volume, "no voxel inside the field of view")
    ends = [(box.min(), box.max()) if inside is None else (box[inside].min(), box[inside].max())
            for box, inside in boxes]  # fmt: skip
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    if not high > low:
        raise _useless(volume, f"the grey value {low:g} throughout")
    return boxes


@dataclass(frozen=True)
class ResampleTask:
    """The task that brings one block of the volume to the detection grid.

    Grey values are stored with the sample's percentiles at 0 and 1, as float16; what is outside
    the field of view has the median.

    Attributes
    ----------
    target
        Array (Z, Y, X) of the grid.
    """

    source: Source
    grid: DetectionGrid
    sample: GreySample
    target: Path

    def __call__(self, block: Block) -> Mapping[str, NDArray[np.generic]]:
        """Resample one block; return the histogram of what is inside the field of view."""
        grey_zyx, inside_zyx = resample_box(
            self.source, self.grid, block.start, block.stop, self.sample.median
        )
        grey_zyx = (grey_zyx - self.sample.low) / (self.sample.high - self.sample.low)
        open_scratch(self.target, "r+")[block.region] = grey_zyx.astype(np.float16)
        values = grey_zyx if inside_zyx is None else grey_zyx[inside_zyx > _INSIDE]
        bins, first, last = _HISTOGRAM
        clipped = np.clip(values, first, np.nextafter(last, first))
        return {"histogram": np.histogram(clipped, bins, (first, last))[0].astype(np.int64)}


def scale_grey(results: Iterable[Mapping[str, NDArray[np.generic]]]) -> GreyScale:
    """Find what is 0 and 1 for the network from the histograms of all blocks.

    The network was trained on images of its own scale, each normalised by its percentiles;
    averaging over voxels takes noise out, and so the percentiles of the detection grid, not of the
    volume, are the like.

    Parameters
    ----------
    results
        What ``ResampleTask`` returned.
    """
    counts = np.sum([result["histogram"] for result in results], axis=0)
    bins, first, last = _HISTOGRAM
    if not counts.sum():
        return GreyScale(0.0, 1.0)
    edges = np.linspace(first, last, bins + 1)
    shares = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
    low, high = np.interp(np.divide(GREY_PERCENTILES, 100), shares, edges)
    return GreyScale(float(low), max(float(high), float(low) + (last - first) / bins))


def _list_samples(source: Source) -> Iterable[tuple[slice, slice, slice]]:
    spans = []
    for length in source.array.shape:
        edge = min(_SAMPLE_EDGE, length)
        starts = np.unique(np.linspace(0, length - edge, _SAMPLES).astype(int))
        spans.append([slice(int(start), int(start) + edge) for start in starts])
    in_z, in_y, in_x = spans
    return product(in_z, in_y, in_x)


def _useless(volume: Volume, found: str) -> StoreError:
    return StoreError(
        volume.path,
        found=found,
        expected="a tomogram with particles",
        action="look at the volume and take it out, or correct its field of view",
    )


_WINDOW_PX = 768  # sections are cut to this about their middle
_MIN_PX = 64  # smaller sections are skipped
_DEPTHS = (0.3, 0.5, 0.7)  # where sections are taken, as a fraction of the axis
_SUITED = (
    0.4,
    2.5,
)  # diameters that the network is sure about, as a fraction of what it is used to
_PEAK_PX = 8  # a peak is the highest within this distance
_APART = 0.7  # centres nearer than this fraction of a radius are of one particle
MIN_FOUND = 3
"""Particles on a few sections from which their diameter can be told."""

CONVINCING = 0.05
"""Fraction of the area covered by particles that the detector is sure of, from which it knows what
it sees."""

_CONFIDENCE_POWER = 5
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScaleEstimate:
    """Particles that the network finds on a few sections at one scale.

    Attributes
    ----------
    edge_um
        Pixel of the sections.
    diameters_px
        Of those that it may be sure about, (n,).
    covered
        Fraction of the area that they cover, by a high power of their probability.
    confidence
        Median of the probability at their centres, 0 where there are none.
    """

    edge_um: float
    diameters_px: NDArray[np.float64]
    covered: float
    confidence: float


def survey_scales(
    volume: Volume,
    network: Detector,
    reading: GreyReading,
    fill: float,
    edge_um: float | None = None,
) -> ScaleEstimate:
    """Look for particles in a few sections, at scales from the volume's own down by factors of 2.

    The scale at which particles of the size that the network was trained around cover most of the
    area wins, an area counting by a high power of its probability: on too coarse a scale a cluster
    passes for one broken particle, but with less confidence. Where all cover next to nothing, half
    the volume's own voxel is looked at too: gaps of a few voxels between particles that touch all
    around are seen there alone.

    Parameters
    ----------
    fill
        Grey value, as stored, of what is outside the field of view.
    edge_um
        The one scale to look at, where it is known.
    """
    if edge_um is not None:
        return _measure_scale(volume, network, reading, fill, edge_um)
    edge_um = min(volume.voxel_size_um)
    scales: list[ScaleEstimate] = []
    while not scales or _second_longest(volume, edge_um) >= _MIN_PX:
        scales.append(_measure_scale(volume, network, reading, fill, edge_um))
        edge_um *= 2
    if max(one.covered for one in scales) < CONVINCING:
        half_um = min(volume.voxel_size_um) / 2
        scales.append(_measure_scale(volume, network, reading, fill, half_um))
    return max(scales, key=lambda one: one.covered)


def measure_diameter_um(
    volume: Volume, network: Detector, reading: GreyReading, fill: float, best: ScaleEstimate
) -> float | None:
    """Measure the median diameter of the particles' sections at the scale that suits them.

    Parameters
    ----------
    fill
        Grey value, as stored, of what is outside the field of view.

    Returns
    -------
    float or None
        Diameter of a disk of the median area (um); None where no particles are found.
    """
    if len(best.diameters_px) < MIN_FOUND:
        return None
    diameter_um = float(np.median(best.diameters_px)) * best.edge_um
    edge_um = max(diameter_um / network.particle_px, min(volume.voxel_size_um) / 2)
    again = _measure_scale(volume, network, reading, fill, edge_um)
    if len(again.diameters_px) >= MIN_FOUND:
        diameter_um = float(np.median(again.diameters_px)) * again.edge_um
    _log.info("%s: particles measure %.3g um in the median", volume.name, diameter_um)
    return diameter_um


def measure_sections(sections_nyx: FloatArray, network: Detector) -> Iterator[NDArray[np.float64]]:
    """Measure the particles in sections that lie wholly inside.

    Parameters
    ----------
    sections_nyx
        Normalised sections (N, H, W).

    Yields
    ------
    ndarray of float64, (n, 2)
        Diameters (px) of disks of the particles' areas, and the probability at their centres, of
        each section.
    """
    maps = network.predict(sections_nyx)
    for prob_yx, dist_kyx in zip(maps.prob_nyx, maps.dist_nkyx, strict=True):
        size = 2 * (_PEAK_PX // network.grid) + 1
        peaks_yx = (prob_yx == ndimage.maximum_filter(prob_yx, size)) & (
            prob_yx >= network.prob_threshold
        )
        spots = np.argwhere(peaks_yx)
        spots = spots[np.argsort(-prob_yx[tuple(spots.T)], kind="stable")]
        dists = dist_kyx[:, spots[:, 0], spots[:, 1]].T.astype(np.float64)
        shape = sections_nyx.shape[1:]
        diameters, whole = _measure_apart(spots * network.grid, dists, (shape[0], shape[1]))
        yield np.stack([diameters, prob_yx[tuple(spots[whole].T)]], axis=1)


def _measure_apart(
    centres_px: NDArray[np.int64], dists: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], list[int]]:
    """Diameters and numbers, best first, without second centres and without cut particles."""
    radii = np.sqrt((np.maximum(dists, 0) ** 2).mean(axis=1)) if len(dists) else np.empty(0)
    kept: list[int] = []
    for number, centre in enumerate(centres_px):
        ways = np.hypot(*(centres_px[kept] - centre).T) if kept else np.empty(0)
        if not (ways < _APART * radii[kept]).any():
            kept.append(number)
    to_face = np.minimum(centres_px, np.array(shape) - 1 - centres_px).min(axis=1, initial=1 << 30)
    whole = [number for number in kept if to_face[number] > radii[number] > 0]
    return 2 * radii[whole], whole


def _measure_scale(
    volume: Volume, network: Detector, reading: GreyReading, fill: float, edge_um: float
) -> ScaleEstimate:
    found: list[NDArray[np.float64]] = []
    area_px = 0
    for section_yx in _cut_sections(volume, reading, fill, edge_um):
        low, high = measure_grey_range(section_yx)
        if high > low:
            scaled_nyx = normalise_sections(section_yx[None], low, high)
            found.extend(measure_sections(scaled_nyx, network))
            area_px += section_yx.size
    diameters, trust = np.concatenate([np.empty((0, 2)), *found]).T
    least, most = (share * network.particle_px for share in _SUITED)
    suited = (diameters >= least) & (diameters <= most)
    areas = np.pi / 4 * diameters[suited] ** 2
    covered = float((areas * trust[suited] ** _CONFIDENCE_POWER).sum() / max(1, area_px))
    confidence = float(np.median(trust[suited])) if suited.any() else 0.0
    return ScaleEstimate(edge_um, diameters[suited], covered, confidence)


def _cut_sections(
    volume: Volume, reading: GreyReading, fill: float, edge_um: float
) -> Iterator[FloatArray]:
    grid = make_grid(volume, edge_um)
    source = choose_source(volume, grid, reading)
    (fill_read,) = reading.apply(np.array([fill])).tolist()
    for axis in range(len(DIRECTIONS)):
        plane = [length for other, length in enumerate(grid.shape_zyx) if other != axis]
        if min(plane) < _MIN_PX and axis > 0:
            continue
        depths = {int(share * grid.shape_zyx[axis]) for share in _DEPTHS}
        for depth in sorted(depths):
            spans = [_middle(length) for length in grid.shape_zyx]
            spans[axis] = (depth, depth + 1)
            start, stop = (cast("Triple", tuple(ends)) for ends in zip(*spans, strict=True))
            values_zyx, _ = resample_box(source, grid, start, stop, fill_read)
            yield np.squeeze(values_zyx, axis=axis)


def _middle(length: int) -> tuple[int, int]:
    start = max(0, (length - _WINDOW_PX) // 2)
    return start, min(length, start + _WINDOW_PX)


def _second_longest(volume: Volume, edge_um: float) -> float:
    extents = [n * size for n, size in zip(volume.shape_zyx, volume.voxel_size_um, strict=True)]
    return sorted(extents)[1] / edge_um
