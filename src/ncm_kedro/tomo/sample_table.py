"""The table of the samples of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import pandas as pd

from ncm_kedro.errors import TomogramError
from ncm_kedro.tomo.volume import Volume, Volumes

_TYPES = {
    "sample": "str", "file": "str", "size_z_vx": "Int64", "size_y_vx": "Int64",
    "size_x_vx": "Int64", "dtype": "str", "voxel_z_um": "float64", "voxel_y_um": "float64",
    "voxel_x_um": "float64", "voxel_size_source": "str", "cycles": "float64",
    "c_rate": "float64", "axis_to_collector": "str", "field_of_view_share": "float64",
    "grey_low": "float64", "grey_median": "float64", "grey_high": "float64",
    "rejected_reason": "str",
}  # fmt: skip
_GREY = {"grey_low": "1", "grey_median": "50", "grey_high": "99.8"}


class Sourced(Protocol):
    """Something that knows the file it comes from."""

    @property
    def source(self) -> Any:
        """The file or folder."""
        ...


def tabulate_tomograms(
    raw: Mapping[str, Sourced], tomograms: Volumes, rejected: pd.DataFrame
) -> pd.DataFrame:
    """Tabulate the samples of a run: what they are, or why they were set aside.

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
        row = {"sample": name, "file": str(tomogram.source)}
        if name in tomograms:
            rows.append({**row, **_describe(tomograms[name])})
        else:
            reason = tomograms.set_aside.get(name, "no volume was written")
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
            action="read the reasons above and mend one input",
        )
    return table


def list_samples(table: pd.DataFrame) -> list[str]:
    """List the samples of a run that were not set aside.

    Parameters
    ----------
    table
        What `tabulate_tomograms` returned.
    """
    return table.loc[table["rejected_reason"].isna(), "sample"].tolist()


def _describe(volume: Volume) -> dict[str, Any]:
    known = volume.attributes
    depth, height, width = volume.shape_zyx
    grey = known.get("grey_percentiles", {})
    return {
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
                "field_of_view_share",
            )
        },
    }  # fmt: skip
