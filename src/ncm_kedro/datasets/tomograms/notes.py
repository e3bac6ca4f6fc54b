"""What every reader of raw tomograms returns, and the checks that all of them share.

Whether voxel size and extent can be those of a particle electrode. A user's notes on a sample in
the ``<sample>.yml`` beside its tomogram.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator

from ncm_kedro.errors import TomogramError
from ncm_kedro.params.base import FrozenParams
from ncm_kedro.tomo.volumes.volume import CUBES, PARTICLE_UM, Region, Spacing, Triple
from ncm_kedro.units import um_per_unit

TIFF_SUFFIXES = (".tif", ".tiff")
HDF5_SUFFIXES = (".h5", ".hdf5", ".nxs", ".hdf")
Notes = TypeVar("Notes", bound=FrozenParams)

_UM_PER_SIGN = {"a": 1.0e-4, "inches": 25_400.0, '"': 25_400.0}
_LEAST_VX = 4.0
_ANISOTROPIC, _MIXED_UNITS = 10.0, 100.0  # longest edge of a voxel by its shortest


def name_sample(path: Path) -> str:
    """Name the sample of a file: ``a.tif``, ``a.ome.tif``, ``a.ome.zarr`` and ``a/`` are ``a``."""
    known = (*TIFF_SUFFIXES, *HDF5_SUFFIXES, ".zarr")
    stem = path.stem if path.suffix.lower() in known else path.name
    return stem[: -len(".ome")] if stem.lower().endswith(".ome") else stem


@dataclass(frozen=True)
class OpenedVolume:
    """A volume whose metadata was read, but no voxel.

    Attributes
    ----------
    shape_zyx
        Voxels along z, y, x.
    dtype
        Type in the file, with its byte order.
    read
        Reads a region; opens the file itself and pickles.
    voxel_size_um
        Along z, y, x; None where it is not in the file.
    voxel_size_source
        What the voxel size was taken from, or what the file holds instead.
    files
        All files that hold the volume.
    warnings
        What a person should know about it, one sentence each.
    """

    shape_zyx: Triple
    dtype: np.dtype[Any]
    read: Callable[[Region], NDArray[Any]]
    voxel_size_um: Spacing | None
    voxel_size_source: str
    files: tuple[Path, ...]
    warnings: tuple[str, ...] = ()


def convert_to_um(length: float, unit: str | bytes | None) -> float | None:
    """Convert a length to micrometres.

    Parameters
    ----------
    unit
        Name or symbol of a unit of length, in any case.

    Returns
    -------
    float or None
        None where the unit is not known, or the length is not a positive number.
    """
    name = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit or "")
    name = name.strip().lower().replace("\\u00b5", "u")  # as ImageJ escapes it
    factor = _UM_PER_SIGN.get(name) or um_per_unit(name)
    if factor is None or not math.isfinite(length) or length <= 0:
        return None
    return float(length) * factor


def join_spacing(sizes_um: Sequence[float | None]) -> Spacing | None:
    """Return three voxel edges as such, or None where one of them is not known."""
    depth, height, width = sizes_um
    if depth is None or height is None or width is None:
        return None
    return depth, height, width


def assume_cubes(sizes_um: Sequence[float | None], source: str) -> tuple[Spacing | None, str]:
    """Take square pixels of unknown depth as faces of cubes, and say so in the source."""
    depth, height, width = sizes_um
    if depth is None and height is not None and width is not None:
        if math.isclose(height, width, rel_tol=1e-3):
            return (width, width, width), f"{source}; no size along z, {CUBES}"
        return None, f"{source}, which gives {height:.4g} x {width:.4g} um and no size along z"
    return join_spacing(sizes_um), source


def check_extent(source: Path, shape: Triple, size_um: Spacing) -> tuple[str, ...]:
    """Check that particles of 0.2 to 100 um can be seen, and that voxels are no rods.

    Returns
    -------
    tuple of str
        Warnings.

    Raises
    ------
    TomogramError
        If not one particle fits in, or the edges of a voxel cannot be in one unit.
    """
    extent_um = max(n * s for n, s in zip(shape, size_um, strict=True))
    text = " x ".join(f"{s:.4g}" for s in size_um)
    if extent_um < PARTICLE_UM[0]:
        raise make_volume_error(
            source,
            f"an implausible voxel size of {text} um: the whole volume is {extent_um:.2g} um long",
            f"a volume that holds particles of {PARTICLE_UM[0]:g} to {PARTICLE_UM[1]:g} um",
            "give the voxel size in um in the sample's .yml (1 m = 1e6 um, 1 nm = 1e-3 um)",
        )
    longer = max(size_um) / min(size_um)
    if longer > _MIXED_UNITS:
        raise make_volume_error(
            source,
            f"an implausible voxel size of {text} um: one edge is {longer:.3g} times another",
            "edges along z, y, x in one unit",
            "give the voxel size in um in the sample's .yml (1 m = 1e6 um, 1 nm = 1e-3 um)",
        )
    if max(size_um) * _LEAST_VX > PARTICLE_UM[1]:
        return (
            f"voxel size {text} um is implausible: a particle of {PARTICLE_UM[1]:g} um is less "
            f"than {_LEAST_VX:g} voxels across. Was it given in nm? It must be in um",
        )
    if longer > _ANISOTROPIC:
        return (
            f"voxel size {text} um: one edge is {longer:.3g} times another. Check the distance of "
            "the sections: shapes and volumes follow it",
        )
    return ()


def check_volume(source: Path, shape: Sequence[int], kind: np.dtype[Any]) -> Triple:
    """Check that an array can be a tomogram.

    Returns
    -------
    tuple of int
        Voxels along z, y, x.

    Raises
    ------
    TomogramError
        If it is empty, flat, has more than three axes, or holds no numbers.
    """
    text = " x ".join(str(n) for n in shape) or "a single number"
    if kind.kind not in "biuf" or kind.itemsize > 8:
        raise make_volume_error(source, f"values of type {kind}", "whole or real numbers",
                            "save the grey values as uint8, uint16 or float32")  # fmt: skip
    if 0 in shape:
        raise make_volume_error(source, f"an empty array ({text})")
    if len(shape) == 2:
        raise make_volume_error(
            source, f"a 2-D image ({text})",
            action=f"put all sections of the sample into one stack, or as files into one folder "
            f"{source.stem.split('.')[0]}/; one section alone is no volume, but can serve to "
            "train the detector",
        )  # fmt: skip
    if len(shape) != 3:
        raise make_volume_error(source, f"an array of {len(shape)} axes ({text})")
    if min(shape) == 1:
        axis = "zyx"[list(shape).index(1)]
        raise make_volume_error(source, f"a volume that is one voxel thin along {axis} ({text})")
    depth, height, width = (int(n) for n in shape)
    return depth, height, width


def make_volume_error(
    source: Path,
    found: str,
    expected: str = "a volume of grey values (z, y, x), at least two voxels along each axis",
    action: str = "export the reconstruction again as one grey volume per sample",
) -> TomogramError:
    """Make the error for an input that cannot be used."""
    return TomogramError(source, found=found, expected=expected, action=action)


def make_chunk_warning(missing: int, total: int, why: str) -> str:
    """Say that chunks without data count as the fill value."""
    share = missing / total
    return f"{missing} of {total} chunks ({share:.1%}) hold no data and count as empty, {why}"


def drop_unit_axes(shape: Sequence[int]) -> tuple[int, ...]:
    """Drop axes of length 1 from the front until three are left."""
    kept = list(shape)
    while len(kept) > 3 and 1 in kept[:-3]:
        kept.remove(1)
    return tuple(int(n) for n in kept)


_Edge = Annotated[float, Field(gt=0, lt=1000, allow_inf_nan=False)]
NOTES_EXAMPLE = "voxel_size_um: [0.07, 0.07, 0.07]"


class TomogramNotes(FrozenParams):
    """Keys of ``<sample>.yml``; all are optional."""

    voxel_size_um: tuple[_Edge, _Edge, _Edge] | None = None
    """Edges of a voxel along z, y, x, or one number for all (um); overrides the file's metadata."""

    cycles: float | None = Field(default=None, ge=0)
    """Charge and discharge cycles that the electrode has seen (no unit)."""

    c_rate: float | None = Field(default=None, gt=0)
    """Rate at which it was cycled (1/h)."""

    axis_to_collector: Literal["z", "-z", "y", "-y", "x", "-x", "+z", "+y", "+x"] | None = None
    """Axis that points from the separator to the current collector."""

    dataset: str | None = Field(default=None, min_length=1)
    """Path of the volume within an HDF5 file or a Zarr group."""

    missing_chunks_are_empty: bool = False
    """Whether chunks without data in an HDF5 file or a Zarr store are known to hold nothing."""

    @field_validator("voxel_size_um", mode="before")
    @classmethod
    def _spread_scalar(cls, value: Any) -> Any:
        if any(isinstance(one, bool) for one in (value if isinstance(value, list) else [value])):
            raise ValueError("true and false are no lengths")
        if isinstance(value, str):  # YAML 1.1 reads 7e-2, without a point, as text
            try:
                value = float(value)
            except ValueError:
                return value
        return (value, value, value) if isinstance(value, int | float) else value

    @property
    def spacing_um(self) -> Spacing | None:
        """Voxel size, if given."""
        return self.voxel_size_um

    @property
    def attributes(self) -> dict[str, Any]:
        """What is handed on with the volume, without what is not set."""
        return self.model_dump(include={"cycles", "c_rate", "axis_to_collector"}, exclude_none=True)


class _KeysOnce(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.YAMLError(f"{', '.join(twice)} more than once")
        return super().construct_mapping(node, deep)


def read_notes(path: Path, model: type[Notes], example: str) -> Notes:
    """Read the ``.yml`` beside a sample; an absent one is empty.

    Parameters
    ----------
    model
        The keys that it may hold.
    example
        A line of it, for errors.

    Raises
    ------
    TomogramError
        If it cannot be parsed, has an unknown key, or a value out of range.
    """
    if not path.is_file():
        return model()
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), _KeysOnce)  # noqa: S506
        return model.model_validate({} if content is None else content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        found = f"text that cannot be parsed ({' '.join(str(error).split())})"
        raise _refuse(path, found, model, example) from error
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise _refuse(path, found, model, example) from error


def _refuse(path: Path, found: str, model: type[FrozenParams], example: str) -> TomogramError:
    return TomogramError(
        path,
        found=found,
        expected=f"YAML with some of the keys {', '.join(model.model_fields)}",
        action=f"correct it; a line of it looks like `{example}`",
    )


def make_voxel_size_error(source: Path, notes: Path, said: str) -> TomogramError:
    """Make the error for a tomogram of unknown voxel size."""
    return TomogramError(
        source,
        found=f"no voxel size ({said})",
        expected="the edges of a voxel in um, in the file's metadata or beside the file",
        action=f"write a line such as `{NOTES_EXAMPLE}` (z, y, x) into {notes}",
    )
