"""What a user says about a sample in the ``<sample>.yml`` beside its tomogram."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from ncm_kedro.errors import TomogramError
from ncm_kedro.params.base import FrozenParams
from ncm_kedro.tomo.volume import Spacing

_Edge = Annotated[float, Field(gt=0, lt=1000, allow_inf_nan=False)]
_EXAMPLE = "voxel_size_um: [0.07, 0.07, 0.07]"


class TomogramNotes(FrozenParams):
    """Keys of ``<sample>.yml``; all are optional."""

    voxel_size_um: tuple[_Edge, _Edge, _Edge] | None = None
    """Edges of a voxel along z, y, x, or one number for all (um); beats the file's metadata."""

    cycles: float | None = Field(default=None, ge=0)
    """Charge and discharge cycles that the electrode has seen (no unit)."""

    c_rate: float | None = Field(default=None, gt=0)
    """Rate at which it was cycled (1/h)."""

    axis_to_collector: Literal["z", "-z", "y", "-y", "x", "-x", "+z", "+y", "+x"] | None = None
    """Axis that points from the separator to the current collector."""

    dataset: str | None = Field(default=None, min_length=1)
    """Path of the volume within an HDF5 file or a Zarr group."""

    @field_validator("voxel_size_um", mode="before")
    @classmethod
    def _spread_scalar(cls, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return (value, value, value) if is_number else value

    @property
    def spacing_um(self) -> Spacing | None:
        """Voxel size, if given."""
        return self.voxel_size_um

    @property
    def attributes(self) -> dict[str, Any]:
        """What is handed on with the volume, without what was not said."""
        return self.model_dump(include={"cycles", "c_rate", "axis_to_collector"}, exclude_none=True)


def read_notes(path: Path) -> TomogramNotes:
    """Read a sample's ``.yml``; an absent one says nothing.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    TomogramError
        If it cannot be parsed, has an unknown key, or a value out of range.
    """
    if not path.is_file():
        return TomogramNotes()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _refuse(path, f"text that cannot be parsed ({' '.join(str(error).split())})") from (
            error
        )
    try:
        return TomogramNotes.model_validate({} if content is None else content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise _refuse(path, faults) from error


def demand_voxel_size(source: Path, notes: Path, said: str) -> TomogramError:
    """Make the error for a tomogram whose voxel size nobody knows.

    Parameters
    ----------
    source
        The tomogram.
    notes
        Where the user can say it.
    said
        What the tomogram's metadata says.
    """
    return TomogramError(
        source,
        found=f"no voxel size ({said})",
        expected="the edges of a voxel in um, in the file's metadata or beside the file",
        action=f"write a line such as `{_EXAMPLE}` (z, y, x) into {notes}",
    )


def _refuse(path: Path, found: str) -> TomogramError:
    keys = ", ".join(TomogramNotes.model_fields)
    return TomogramError(
        path,
        found=found,
        expected=f"YAML with some of the keys {keys}",
        action=f"mend it; a sufficient file is the one line `{_EXAMPLE}`",
    )
