"""What is measured: labels, and what is known beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import TomogramError
from ncm_kedro.tomo.volumes.blocks import Block
from ncm_kedro.tomo.volumes.volume import Spacing, Triple, Volume

_LARGEST = 2**62


class VoxelArray(Protocol):
    """An array that is read by boxes: numpy's, Zarr's, or a view that computes what it shows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along z, y, x."""
        ...

    @property
    def dtype(self) -> Any:
        """Type of a value."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Return the values of a box."""
        ...


def read_box(array: VoxelArray, box: Block) -> NDArray[Any]:
    """Read a box as compiled code knows it, of which there is one for each layout and type.

    Values are contiguous, in the machine's byte order; numbers of half precision are float32.

    Parameters
    ----------
    array
        (Z, Y, X).
    """
    values = np.asarray(array[box.region])
    if values.dtype == np.float16:
        return np.ascontiguousarray(values, dtype=np.float32)
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


@dataclass(frozen=True)
class Specimen:
    """A labelled volume.

    Attributes
    ----------
    name
        The sample.
    labels
        (Z, Y, X), whole numbers, 0 is background.
    voxel_size_um
        Edges of a voxel along z, y, x.
    grey
        Grey values, (Z, Y, X), or None: then there is no electron density.
    cracks
        More than 0 in voids and cracks of a labelled particle, (Z, Y, X), or None: then cracks are
        what the closing of the labels adds.
    view
        1 inside the field of view, (Z, Y, X), or None for everywhere.
    axis_to_collector
        Where the current collector lies, as ``-z``, or None.
    """

    name: str
    labels: VoxelArray
    voxel_size_um: Spacing
    grey: VoxelArray | None = None
    cracks: VoxelArray | None = None
    view: VoxelArray | None = None
    axis_to_collector: str | None = None

    @property
    def shape_zyx(self) -> Triple:
        """Voxels along z, y, x."""
        depth, height, width = self.labels.shape
        return int(depth), int(height), int(width)


def read_labels(specimen: Specimen, box: Block) -> NDArray[Any]:
    """Read a box of labels as uint32, or as int64 where their type holds larger ones.

    Raises
    ------
    TomogramError
        If a label is negative or beyond 2**62.
    """
    labels = read_box(specimen.labels, box)
    wide = labels.dtype.itemsize == 8
    if labels.size and (wide or labels.dtype.kind == "i"):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high > _LARGEST:
            raise TomogramError(
                f"sample {specimen.name}",
                found=f"the label {low if low < 0 else high}",
                expected=f"labels of 0 (background) to {_LARGEST}",
                action="renumber the labels; some tools mark borders or the unknown by -1",
            )
    return labels.astype(np.int64 if wide else np.uint32, copy=False)


def take_specimen(labels: Volume, volume: Volume | None) -> Specimen:
    """Bring labels and the volume that they were made from together.

    Parameters
    ----------
    labels
        Labels, with the extra ``cracks`` where there is one.
    volume
        Grey values, with the extra ``field_of_view`` where there is one; None: labels alone.

    Raises
    ------
    TomogramError
        If the two differ in shape or voxel size, or the labels are not labels.
    """
    extras = {} if volume is None else volume.extras
    specimen = Specimen(
        name=labels.name,
        labels=labels.array,
        voxel_size_um=labels.voxel_size_um,
        grey=None if volume is None else volume.array,
        cracks=labels.extras.get("cracks"),
        view=extras.get("field_of_view"),
        axis_to_collector=(None if volume is None else volume.attributes.get("axis_to_collector")),
    )
    edges = None if volume is None else volume.voxel_size_um
    if edges is not None and not np.allclose(labels.voxel_size_um, edges, rtol=1e-3):
        raise TomogramError(
            labels.path,
            found=f"labels with voxels of {labels.voxel_size_um} um, grey values with {edges} um",
            expected="one voxel size",
            action="mend the voxel size of the one that is wrong, or segment this volume anew",
        )
    check_specimen(specimen)
    return specimen


def check_specimen(specimen: Specimen) -> None:
    """Check what can be checked before a voxel is read.

    Raises
    ------
    TomogramError
        If labels are not 3-D whole numbers, shapes differ, or the voxel size is missing.
    """
    shape = tuple(int(n) for n in specimen.labels.shape)
    if len(shape) != 3 or min(shape) < 1:
        _refuse(specimen, f"labels of shape {shape}", "a volume (Z, Y, X) with voxels in it")
    if np.dtype(specimen.labels.dtype).kind not in "iu":
        _refuse(
            specimen, f"labels of type {specimen.labels.dtype}", "whole numbers, 0 = background"
        )
    for name in ("grey", "cracks", "view"):
        array = getattr(specimen, name)
        if array is not None and tuple(int(n) for n in array.shape) != shape:
            _refuse(specimen, f"labels of {shape} voxels, {name} of {array.shape}", "one shape")
    try:
        edges = np.asarray(specimen.voxel_size_um, dtype=np.float64)
    except (TypeError, ValueError):
        edges = np.full(3, np.nan)
    if edges.shape != (3,) or not np.isfinite(edges).all() or (edges <= 0).any():
        _refuse(
            specimen,
            f"voxel size {specimen.voxel_size_um}",
            "three positive lengths in um, along z, y, x",
            "give the size of a voxel (for a tomogram: voxel_size_um in <sample>.yml)",
        )


def _refuse(
    specimen: Specimen,
    found: str,
    expected: str,
    action: str = "look where these labels come from; segment the tomogram anew, or give the "
    "labels that belong to it",
) -> None:
    raise TomogramError(f"sample {specimen.name}", found=found, expected=expected, action=action)
