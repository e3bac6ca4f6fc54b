"""A volume on disk, as the domain sees it, and a volume that is yet to be computed.

What it was made from, and whether volumes belong together. The table of the samples of a run.

Grey values in the range that the network was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from ncm_kedro.errors import TomogramError

if TYPE_CHECKING:
    import zarr

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]
Region = tuple[slice, slice, slice]
CUBES = "voxels taken as cubes"
"""Part of the source of a voxel size where none was given along z."""
PARTICLE_UM = (0.2, 100.0)
"""Diameters that particles of an electrode may have (um)."""


@dataclass(frozen=True)
class RawTomogram:
    """A tomogram as its file holds it; no voxel is read before ``read`` is called.

    Attributes
    ----------
    name
        The sample.
    source
        The file or folder.
    shape_zyx, dtype
        Voxels along z, y, x, and their type in the file with its byte order.
    voxel_size_um, voxel_size_source
        Edges of a voxel along z, y, x, and where they were found.
    attributes
        ``cycles``, ``c_rate`` and ``axis_to_collector`` where known, as JSON types.
    fingerprint
        Identity of the files' content and of the settings that read them.
    read
        Reads a region in the type of the file, possibly mapped; pickles. Raises TomogramError
        where the file turns out to be damaged.
    content
        Identity of the files' content alone.
    warnings
        What a person should know about it, one sentence each.
    """

    name: str
    source: str
    shape_zyx: Triple
    dtype: np.dtype[Any]
    voxel_size_um: Spacing
    voxel_size_source: str
    attributes: Mapping[str, Any]
    fingerprint: str
    read: Callable[[Region], NDArray[Any]]
    content: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Volume:
    """A finished volume, opened for reading; nothing is read before it is indexed.

    Attributes
    ----------
    name
        The sample.
    path
        Its OME-Zarr group.
    array
        Full resolution, (Z, Y, X).
    levels
        The pyramid, ``levels[0]`` is ``array``; each level halves the axes it can.
    voxel_size_um
        Edges of a voxel of ``array`` along z, y, x.
    extras
        Further arrays of the same shape by name, as ``field_of_view`` (uint8, 1 inside).
    attributes
        What is known about it, as JSON types; ``fingerprint`` among it.
    level_sizes_um
        Edges of a voxel of each level, as its metadata says.
    """

    name: str
    path: Path
    array: zarr.Array
    levels: tuple[zarr.Array, ...]
    voxel_size_um: Spacing
    extras: Mapping[str, zarr.Array] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    level_sizes_um: tuple[Spacing, ...] = ()

    @property
    def shape_zyx(self) -> Triple:
        """Voxels along z, y, x."""
        depth, height, width = self.array.shape
        return int(depth), int(height), int(width)

    @property
    def fingerprint(self) -> str:
        """Identity of the content: inputs, settings and code that made it."""
        return str(self.attributes["fingerprint"])


class Volumes(dict[str, Volume]):
    """Volumes by sample.

    Parameters
    ----------
    rejections
        Reason by sample that could not be used when the volumes were last written.
    """

    def __init__(
        self, volumes: Mapping[str, Volume], rejections: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(volumes)
        self.rejections = dict(rejections or {})

    def take(self, sample: str) -> Volume:
        """Return a volume.

        Raises
        ------
        TomogramError
            If there is none; with the reason where it was rejected.
        """
        if sample in self:
            return self[sample]
        raise TomogramError(
            f"sample {sample}",
            found=self.rejections.get(sample, "no volume of it, which an earlier step makes"),
            expected="a volume that the earlier step has finished",
            action="correct what the reason names, and run the earlier step again",
        )


@dataclass(frozen=True)
class VolumeTarget:
    """An unfinished volume that a plan writes into; it is published when the plan is through.

    Attributes
    ----------
    array
        Full resolution, (Z, Y, X), writable. One task alone may write a shard.
    extras
        Further arrays of the same shape, chunks and shards by name.
    work
        Folder for scratch arrays and for the record of finished blocks. It survives a kill,
        so that the next run resumes, and is removed when the volume is published.
    """

    array: zarr.Array
    extras: Mapping[str, zarr.Array]
    work: Path


@dataclass(frozen=True)
class VolumePlan:
    """A volume that is yet to be computed; the data set that saves it runs ``write``.

    Attributes
    ----------
    name
        The sample.
    shape_zyx
        Voxels along z, y, x.
    dtype
        Of the full-resolution array.
    voxel_size_um
        Edges of a voxel along z, y, x.
    fingerprint
        Changes whenever an input, a setting or the method changes; a finished volume of the
        same fingerprint is not computed again, an unfinished one is resumed.
    write
        Fills the target block by block; called again after a kill, it redoes no finished block.
    extras
        Data types of the further arrays by name.
    is_label
        Whether the values are identities (then coarser levels pick, never average).
    averaged
        Names of the extras that are measures, not masks: their coarser levels are means.
    attributes
        What is to be stored beside, as JSON types.
    """

    name: str
    shape_zyx: Triple
    dtype: DTypeLike
    voxel_size_um: Spacing
    fingerprint: str
    write: Callable[[VolumeTarget], None]
    extras: Mapping[str, DTypeLike] = field(default_factory=dict)
    is_label: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)
    averaged: frozenset[str] = frozenset()

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays at full resolution, before compression."""
        voxels = int(np.prod(self.shape_zyx))
        kinds = [self.dtype, *self.extras.values()]
        return voxels * sum(np.dtype(kind).itemsize for kind in kinds)


PlanMaker = Callable[[], VolumePlan]
"""Makes the plan when its turn comes; what it raises concerns its sample alone."""

_TYPES = {
    "sample": "str", "file": "str", "fingerprint": "str", "size_z_vx": "Int64",
    "size_y_vx": "Int64", "size_x_vx": "Int64", "dtype": "str", "voxel_z_um": "float64",
    "voxel_y_um": "float64", "voxel_x_um": "float64", "voxel_size_source": "str",
    "warnings": "str", "cycles": "float64",
    "c_rate": "float64", "axis_to_collector": "str", "field_of_view_fraction": "float64",
    "grey_unit": "str",
    "grey_low": "float64", "grey_median": "float64", "grey_high": "float64",
    "rejected_reason": "str",
}  # fmt: skip
_GREY = {"grey_low": "1", "grey_median": "50", "grey_high": "99.8"}


def tabulate_tomograms(
    raw: Mapping[str, RawTomogram], tomograms: Volumes, rejected: pd.DataFrame
) -> pd.DataFrame:
    """Tabulate the samples of a run: what they are, or why they were rejected.

    Parameters
    ----------
    raw
        Samples that were found and could be opened.
    tomograms
        Volumes on disk, possibly of samples that are not part of this run.
    rejected
        Inputs that could not be opened: ``file, reason``.

    Returns
    -------
    pandas.DataFrame
        Columns as in the contract ``TomogramTable``, sorted by sample.

    Raises
    ------
    TomogramError
        If no sample is left.
    """
    rows = []
    for name, tomogram in raw.items():
        warnings = "; ".join(tomogram.warnings) or None
        row = {"sample": name, "file": str(tomogram.source), "warnings": warnings}
        if name in tomograms:
            rows.append({**row, **_describe(tomograms[name])})
        else:
            reason = tomograms.rejections.get(name, "no volume was written")
            rows.append({**row, "rejected_reason": reason})
    rows += [
        {"sample": str(entry["file"]), "file": str(entry["file"]),
         "rejected_reason": str(entry["reason"])}
        for entry in rejected.to_dict("records")
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)
    table = table.sort_values("sample", ignore_index=True)
    if not list_samples(table):
        raise TomogramError(
            "raw tomograms",
            found=f"no usable sample among {len(table)}",
            expected="at least one",
            action="read the reasons above and correct one input",
        )
    return table


def list_samples(table: pd.DataFrame, *stages: Mapping[str, Any]) -> list[str]:
    """List the samples of a run that were not rejected.

    Parameters
    ----------
    table
        What `tabulate_tomograms` returned.
    stages
        What must be there of a sample, by its name.
    """
    usable = table.loc[table["rejected_reason"].isna(), "sample"].tolist()
    return [name for name in usable if all(name in stage for stage in stages)]


def list_rejections(table: pd.DataFrame, *later: Mapping[str, str]) -> pd.DataFrame:
    """List what was rejected on the way to the labels, and why.

    Parameters
    ----------
    table
        What `tabulate_tomograms` returned.
    later
        Reasons by sample of later steps; samples of other runs are left out.

    Returns
    -------
    pandas.DataFrame
        ``file, reason``.
    """
    files = dict(zip(table["sample"], table["file"], strict=True))
    early = table.loc[table["rejected_reason"].notna(), ["file", "rejected_reason"]]
    known = dict(early.to_numpy())
    for reasons in later:
        known |= {files[name]: reason for name, reason in reasons.items() if name in files}
    return pd.DataFrame(list(known.items()), columns=["file", "reason"], dtype="str")


def _describe(volume: Volume) -> dict[str, Any]:
    known = volume.attributes
    depth, height, width = volume.shape_zyx
    grey = known.get("grey_percentiles", {})
    return {
        "fingerprint": volume.fingerprint,
        "size_z_vx": depth,
        "size_y_vx": height,
        "size_x_vx": width,
        "dtype": str(volume.array.dtype),
        "voxel_z_um": volume.voxel_size_um[0],
        "voxel_y_um": volume.voxel_size_um[1],
        "voxel_x_um": volume.voxel_size_um[2],
        **{column: grey.get(key) for column, key in _GREY.items()},
        **{
            name: known.get(name)
            for name in (
                "voxel_size_source", "cycles", "c_rate", "axis_to_collector",
                "field_of_view_fraction", "grey_unit",
            )
        },
    }  # fmt: skip


GREY_PERCENTILES = (1.0, 99.8)
"""Percentiles of an image or volume that become 0 and 1."""


def normalise_sections(
    sections: NDArray[np.generic], low: float, high: float
) -> NDArray[np.float32]:
    """Bring grey values to the range that the network was trained on.

    Parameters
    ----------
    low, high
        Grey values that become 0 and 1; nothing is clipped.

    Returns
    -------
    ndarray of float32
        Of the same shape; all 0 where low and high are equal.
    """
    grey = np.asarray(sections, dtype=np.float32)
    span = np.float32(high - low)
    if span <= 0:
        return np.zeros_like(grey)
    return (grey - np.float32(low)) / span


def measure_grey_range(image_yx: NDArray[np.generic]) -> tuple[float, float]:
    """Return the low and high percentile of an image's finite grey values."""
    grey = np.asarray(image_yx)
    if grey.dtype == np.uint8:
        share = np.cumsum(np.bincount(grey.ravel(), minlength=256)) / grey.size
        low, high = (int(np.searchsorted(share, p / 100)) for p in GREY_PERCENTILES)
        return float(low), float(high)
    low, high = np.percentile(grey[np.isfinite(grey)], GREY_PERCENTILES)
    return float(low), float(high)
