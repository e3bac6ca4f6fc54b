"""Sections on which methods are set beside each other and the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.plotting.tomo_colours import LabelArray
from ncm_kedro.plotting.tomo_cuts import Plane, SectionCut, cut_section
from ncm_kedro.tomo.volume import Volume

TRUTH = "truth"
_NORMAL: dict[Plane, int] = {"xy": 0, "xz": 1}


def compare_sections(
    image: Volume, methods: Mapping[str, Volume], truth_zyx: NDArray[np.integer]
) -> list[tuple[SectionCut, dict[str, LabelArray]]]:
    """Cut two sections through the centre, with the truth and what each method found.

    Parameters
    ----------
    image
        Grey volume, small enough to be shown at full resolution.
    methods
        Label volumes by method.
    truth_zyx
        Known labels (Z, Y, X).

    Returns
    -------
    list of (SectionCut, dict)
        A row of panels each: the section, and labels (H, W) by method, `TRUTH` first.
    """
    edge = max(image.shape_zyx)
    rows = []
    for plane, normal in _NORMAL.items():
        index = image.shape_zyx[normal] // 2
        at = (index + 0.5) / image.shape_zyx[normal]
        cut = cut_section(image, plane, at=at, max_px=edge)
        arrays = {TRUTH: truth_zyx, **{name: volume.array for name, volume in methods.items()}}
        labels: dict[str, LabelArray] = {
            name: _take(array, normal, index) for name, array in arrays.items()
        }
        rows.append((cut, labels))
    return rows


def _take(labels_zyx: Any, normal: int, index: int) -> NDArray[np.uint32]:
    region: list[slice | int] = [slice(None)] * 3
    region[normal] = index
    return np.asarray(labels_zyx[tuple(region)]).astype(np.uint32)
