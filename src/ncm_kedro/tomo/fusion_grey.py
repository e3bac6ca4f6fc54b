"""Grey values of a volume on the working grid, and what is black and white for the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import StoreError
from ncm_kedro.tomo.blocks import Block
from ncm_kedro.tomo.grey_range import GREY_PERCENTILES
from ncm_kedro.tomo.slabs import GreyScale, open_scratch
from ncm_kedro.tomo.volume import Volume
from ncm_kedro.tomo.working_scale import Source, WorkingGrid, read_masked, resample_box

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
    volume
        The volume.
    source
        The level that the working grid is made from.

    Raises
    ------
    StoreError
        If nothing is inside the field of view, or all grey values are the same.
    """
    values = np.concatenate([_read_inside(source, region) for region in _list_samples(source)])
    if not values.size:
        values = _read_inside(source, (slice(0, n) for n in source.array.shape))
    if not values.size:
        raise _useless(volume, "no voxel inside the field of view")
    low, high = np.percentile(values, GREY_PERCENTILES)
    if not high > low:
        raise _useless(volume, f"the grey value {low:g} throughout")
    return GreySample(float(low), float(high), float(np.median(values)))


@dataclass(frozen=True)
class ResampleTask:
    """The task that brings one block of the volume to the working grid.

    Grey values are stored with the sample's percentiles at 0 and 1, as float16; what is outside
    the field of view has the median.

    Attributes
    ----------
    source
        Where from.
    grid
        The working grid.
    sample
        Scale, and filling.
    target
        Array (Z, Y, X) of the grid.
    """

    source: Source
    grid: WorkingGrid
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
    averaging over voxels takes noise out, and so the percentiles of the working grid, not of the
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


def _list_samples(source: Source) -> Iterable[tuple[slice, ...]]:
    spans = []
    for length in source.array.shape:
        edge = min(_SAMPLE_EDGE, length)
        starts = np.unique(np.linspace(0, length - edge, _SAMPLES).astype(int))
        spans.append([slice(int(start), int(start) + edge) for start in starts])
    return product(*spans)


def _read_inside(source: Source, region: Iterable[slice]) -> NDArray[np.float32]:
    z, y, x = region
    values, inside = read_masked(source, (z, y, x))
    return values.ravel() if inside is None else values[inside]


def _useless(volume: Volume, found: str) -> StoreError:
    return StoreError(
        volume.path,
        found=found,
        expected="a tomogram with particles",
        action="look at the volume and take it out, or mend its field of view",
    )
