"""What stands in the metadata of a volume on disk: NGFF 0.5, and our own attributes.

Written by hand: importing ome-zarr's writer takes 2.5 s of CPU, its label pyramids pick the nearest
voxel instead of the most frequent one, and it cannot resume. In tests, ome-zarr and ome-zarr-models
read what is written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.volumes.pyramid import Level
from ncm_kedro.tomo.volumes.volume import VolumePlan

FORMAT = "ncm-volume"
FORMAT_VERSION = 1
NGFF_VERSION = "0.5"
LABELS = "labels"
_AXES = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]


def describe_plan(plan: VolumePlan, compute: TomoComputeParams) -> dict[str, Any]:
    """Describe a volume that is to be written, as JSON types.

    Returns
    -------
    dict
        The attribute ``ncm`` of the store. A partial store whose ``ncm`` is equal to it can be
        resumed. ``finished`` is False.
    """
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "sample": plan.name,
        "fingerprint": plan.fingerprint,
        "shape_zyx": list(plan.shape_zyx),
        "dtype": np.dtype(plan.dtype).name,
        "voxel_size_um": [float(size) for size in plan.voxel_size_um],
        "is_label": plan.is_label,
        "extras": {name: np.dtype(kind).name for name, kind in sorted(plan.extras.items())},
        "shard_edge_vx": compute.block_edge_vx,
        "attributes": dict(plan.attributes),
        "finished": False,
    }


def describe_image(
    name: str, levels: Sequence[Level], *, is_label: bool, window: Mapping[str, float] | None
) -> dict[str, Any]:
    """Describe a pyramid by NGFF 0.5 (https://ngff.openmicroscopy.org/0.5).

    Parameters
    ----------
    levels
        The pyramid; arrays are named 0, 1, ...
    window
        Grey values ``min, max, start, end`` that a viewer should show, for an image.

    Returns
    -------
    dict
        The attribute ``ome`` of the group.
    """
    method = "mode" if is_label else "mean"
    ome: dict[str, Any] = {
        "version": NGFF_VERSION,
        "multiscales": [
            {
                "name": name,
                "axes": _AXES,
                "type": method,
                "metadata": {"description": f"{method} of 2 voxels along each halved axis"},
                "datasets": [
                    {
                        "path": str(number),
                        "coordinateTransformations": [
                            {"type": "scale", "scale": list(level.spacing_um)},
                            {"type": "translation", "translation": list(level.offset_um)},
                        ],
                    }
                    for number, level in enumerate(levels)
                ],
            }
        ],
    }
    if is_label:
        ome["image-label"] = {"version": NGFF_VERSION, "colors": []}
    if window is not None:
        ome["omero"] = {
            "version": NGFF_VERSION,
            "channels": [
                {"label": name, "color": "FFFFFF", "active": True, "window": dict(window)}
            ],
        }
    return ome


def describe_label_list(names: Sequence[str]) -> dict[str, Any]:
    """Describe the group of the further arrays, which NGFF calls labels."""
    return {"version": NGFF_VERSION, "labels": list(names)}
