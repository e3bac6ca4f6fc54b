"""A scan as its files hold it: projections, flats and darks of each distance, nothing read yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.holo.geometry import Geometry

FrameReader = Callable[[NDArray[np.intp]], NDArray[Any]]
"""Reads frames by number, (N, Y, X) in the type of the file; pickles."""


@dataclass(frozen=True)
class DistanceScan:
    """The frames of one distance.

    Attributes
    ----------
    source
        File or folder, and entry.
    read
        Reads frames of the file by number.
    frames
        (A,), number in the file of each projection.
    flat_frames, dark_frames
        Numbers of the frames without sample, and without beam; the first may be empty where the
        projections are corrected already.
    read_flats, read_darks
        Read those, where they lie in files of their own; None: ``read`` does.
    flat_places
        Projection, counted from 0, before which each flat was taken; None: as numbers in the file
        say, or before all where they lie in files of their own.
    """

    source: str
    read: FrameReader
    frames: NDArray[np.intp]
    flat_frames: NDArray[np.intp]
    dark_frames: NDArray[np.intp]
    read_flats: FrameReader | None = None
    read_darks: FrameReader | None = None
    flat_places: NDArray[np.intp] | None = None


@dataclass(frozen=True)
class RawScan:
    """Projections of one sample at one or several distances.

    Attributes
    ----------
    name, source
        The sample, and its file or folder.
    shape_ayx
        Projections, rows, columns, the same at every distance.
    angles_deg
        (A,), the same at every distance.
    distances
        One entry per distance, in the order of ``geometry``.
    geometry
        Effective distances and pixels.
    is_absorption
        Whether absorption is wanted instead of phase.
    centre_px
        Where the rotation axis meets a row; None: to be found.
    half_acquisition
        Whether a whole turn was taken with the axis at a side of the frame.
    attributes
        ``cycles``, ``c_rate``, ``axis_to_collector`` where known.
    fingerprint
        Identity of the files' content and of the notes that read them.
    warnings
        What a person should know about it.
    """

    name: str
    source: str
    shape_ayx: tuple[int, int, int]
    angles_deg: NDArray[np.float64]
    distances: tuple[DistanceScan, ...]
    geometry: Geometry
    fingerprint: str
    is_absorption: bool = False
    centre_px: float | None = None
    half_acquisition: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class RawScans(dict[str, RawScan]):
    """Scans by sample.

    Parameters
    ----------
    rejected
        Reason by file that cannot be used.
    """

    def __init__(
        self, scans: Mapping[str, RawScan], rejected: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(scans)
        self.rejected = dict(rejected or {})
