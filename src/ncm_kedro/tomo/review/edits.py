"""Labels that were edited by hand become a new version; what was changed is logged."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.volumes.blocks import Block, list_blocks, run_blocks
from ncm_kedro.tomo.volumes.identity import fingerprint
from ncm_kedro.tomo.volumes.volume import Triple, Volume, VolumePlan, VolumeTarget

if TYPE_CHECKING:
    import zarr

    from ncm_kedro.tomo.scoring.score import Overlaps

_COMPARE_EDGE_VX = 128
_LARGEST_LABEL = 2**32 - 1
_UNKNOWN = "unknown"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EditedLabels:
    """Labels that somebody edited.

    Attributes
    ----------
    array
        Labels, (Z, Y, X).
    attributes
        What is stored beside: ``voxel_size_um, original_fingerprint, user, saved_at``, where known.
    """

    path: Path
    array: zarr.Array
    attributes: Mapping[str, Any]

    @property
    def saved_at(self) -> str:
        """When they were saved last, as far as the store says."""
        return str(self.attributes.get("saved_at", _UNKNOWN))


def open_edited(path: Path) -> EditedLabels:
    """Open edited labels: a Zarr array, or the full-resolution array of an OME-Zarr group.

    Raises
    ------
    StoreError
        If it cannot be read or holds no array.
    """
    import zarr

    try:
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Array):
            return EditedLabels(path, node, dict(node.attrs))
        attributes = dict(node.attrs)
        described = attributes.get("ome", attributes)["multiscales"][0]["datasets"][0]
        scale = [
            step["scale"]
            for step in described.get("coordinateTransformations", [])
            if step["type"] == "scale"
        ]
        facts = {**attributes, **({"voxel_size_um": scale[0]} if scale else {})}
        return EditedLabels(path, node[described["path"]], facts)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise StoreError(
            path,
            found=f"no labels that can be read ({type(error).__name__}: {error})",
            expected="a Zarr array of labels (Z, Y, X), or an OME-Zarr group of one",
            action="save the labels again from napari, or delete this store",
        ) from error


def check_edited(labels: Volume, edited: EditedLabels) -> None:
    """Check that edits belong to the labels.

    Raises
    ------
    StoreError
        If shape, type or voxel size differ, the labels were computed again since, or the edits
        were not saved to the end.
    """
    array, facts = edited.array, edited.attributes
    if tuple(array.shape) != labels.shape_zyx:
        _refuse(
            edited, f"labels of shape {tuple(array.shape)}", f"the shape {labels.shape_zyx}",
            "edit the whole volume's labels; to edit a part, open it by open_in_napari.py --region",
        )  # fmt: skip
    if np.dtype(array.dtype).kind not in "iu":
        _refuse(
            edited, f"values of type {array.dtype}", "whole numbers, 0 = background",
            "save the layer of labels, not an image",
        )  # fmt: skip
    sizes = facts.get("voxel_size_um")
    if sizes is not None and not np.allclose(sizes, labels.voxel_size_um, rtol=1e-3):
        _refuse(
            edited, f"a voxel size of {list(sizes)} um", f"{list(labels.voxel_size_um)} um",
            "edit the labels of this sample, or correct the store's voxel size",
        )  # fmt: skip
    if facts.get("saving"):
        _refuse(
            edited, "edits that were not saved to the end", "a finished save",
            "open the project again and save with Shift-S",
        )  # fmt: skip
    if "original_fingerprint" not in facts:
        _log.warning("%s does not say which labels were edited; it is taken for the present ones",
                     edited.path)  # fmt: skip
    made_from = facts.get("original_fingerprint", labels.fingerprint)
    if made_from != labels.fingerprint:
        _refuse(
            edited,
            f"edits of labels with the fingerprint {made_from}",
            f"edits of the present labels, {labels.fingerprint}",
            "move these edits away and edit the present labels, or go back to the settings that "
            "made the labels that were edited",
        )


def apply_edits(
    labels: Volume, edited: EditedLabels, compute: TomoComputeParams, *, user: str | None = None
) -> tuple[VolumePlan, pd.DataFrame]:
    """Plan a new version of the labels out of edits, and log what was changed.

    Parameters
    ----------
    labels
        The labels that were edited; they are not touched.
    user
        Who made the edits; by default the user stored with the edits.

    Returns
    -------
    plan : VolumePlan
        Labels (uint32) and the extras of ``labels``; ``cracks`` is kept where particles are. Its
        attributes name the labels that it came from as ``edited_from``.
    log : pandas.DataFrame
        A row per change: ``sample, time, user, kind, particles_before, particles_after,
        voxels_changed, original_fingerprint``.

    Raises
    ------
    StoreError
        As `check_edited`; also if a label is negative or too large, or cannot be read.
    """
    check_edited(labels, edited)
    overlaps, digest = compare_labels(labels, edited, compute)
    changes = list_changes(overlaps)
    log = changes.assign(
        sample=labels.name,
        time=edited.saved_at,
        user=str(user or edited.attributes.get("user", _UNKNOWN)),
        original_fingerprint=labels.fingerprint,
    )[["sample", "time", "user", *changes.columns, "original_fingerprint"]]
    plan = VolumePlan(
        name=labels.name,
        shape_zyx=labels.shape_zyx,
        dtype=np.uint32,
        voxel_size_um=labels.voxel_size_um,
        fingerprint=fingerprint("edits-1", labels.fingerprint, digest),
        write=_EditWriter(labels, edited, compute),
        extras={name: extra.dtype for name, extra in labels.extras.items()},
        is_label=True,
        attributes={
            **{key: value for key, value in labels.attributes.items() if key != "fingerprint"},
            "edited_from": labels.fingerprint,
            "edited_at": edited.saved_at,
            "changes": len(changes),
        },
    )
    return plan, log


def compare_labels(
    labels: Volume, edited: EditedLabels, compute: TomoComputeParams
) -> tuple[Overlaps, str]:
    """Count, block by block, how many voxels have which label before and after.

    Returns
    -------
    overlaps : Overlaps
        Of the whole volume.
    digest : str
        Identity of the edited labels' content, whatever the chunks and the number of workers.
    """
    from ncm_kedro.tomo.scoring.score import Overlaps, join_overlaps

    edge = (_COMPARE_EDGE_VX, _COMPARE_EDGE_VX, _COMPARE_EDGE_VX)
    blocks = list_blocks(labels.shape_zyx, edge)
    with tempfile.TemporaryDirectory(prefix="ncm-review-") as folder:
        parts = run_blocks(
            _CompareTask(labels.array, edited),
            blocks,
            finished=Path(folder),
            compute=compute,
            title=f"{labels.name}: compare with the edits",
        )
    digest = hashlib.sha256(b"".join(part["digest"].tobytes() for part in parts)).hexdigest()
    names = ("before", "after", "voxels")
    counted = [Overlaps(*(part[name].astype(np.int64) for name in names)) for part in parts]
    return join_overlaps(counted), digest


@dataclass(frozen=True)
class _CompareTask:
    before: zarr.Array
    edited: EditedLabels

    def __call__(self, block: Block) -> dict[str, NDArray[np.generic]]:
        before = np.asarray(self.before[block.region]).astype(np.uint64)
        after = _read_edited(self.edited, block)
        key, count = np.unique((before << np.uint64(32)) | after, return_counts=True)
        some = key > 0
        digest = hashlib.sha256(after.astype("<u4").tobytes()).digest()
        return {
            "before": (key[some] >> np.uint64(32)).astype(np.int64),
            "after": (key[some] & np.uint64(_LARGEST_LABEL)).astype(np.int64),
            "voxels": count[some].astype(np.int64),
            "digest": np.frombuffer(digest, dtype=np.uint8),
        }


@dataclass(frozen=True)
class _EditWriter:
    labels: Volume
    edited: EditedLabels
    compute: TomoComputeParams

    def __call__(self, target: VolumeTarget) -> None:
        depth, height, width = target.array.shards or target.array.chunks
        edges: Triple = (int(depth), int(height), int(width))
        run_blocks(
            _CopyTask(self.labels, self.edited, target),
            list_blocks(self.labels.shape_zyx, edges),
            finished=target.work / "edits",
            compute=self.compute,
            title=f"{self.labels.name}: take the edits back",
        )


@dataclass(frozen=True)
class _CopyTask:
    labels: Volume
    edited: EditedLabels
    target: VolumeTarget

    def __call__(self, block: Block) -> None:
        after = _read_edited(self.edited, block)
        self.target.array[block.region] = after.astype(np.uint32)
        for name, extra in self.labels.extras.items():
            values = np.asarray(extra[block.region])
            if name == "cracks":
                values = values * (after > 0).astype(values.dtype)
            self.target.extras[name][block.region] = values


def _read_edited(edited: EditedLabels, block: Block) -> NDArray[np.uint64]:
    try:
        values = np.asarray(edited.array[block.region])
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(
            edited.path,
            found=f"a part that cannot be read, from voxel {block.start} on ({error})",
            expected="the edited labels",
            action="save the labels again from napari",
        ) from error
    if values.size and (int(values.min()) < 0 or int(values.max()) > _LARGEST_LABEL):
        _refuse(
            edited, f"labels from {values.min()} to {values.max()}",
            f"labels from 0 to {_LARGEST_LABEL}", "give these particles other numbers",
        )  # fmt: skip
    return values.astype(np.uint64)


def _refuse(edited: EditedLabels, found: str, expected: str, action: str) -> NoReturn:
    raise StoreError(edited.path, found=found, expected=expected, action=action)


COLUMNS = ("kind", "particles_before", "particles_after", "voxels_changed")


def list_changes(overlaps: Overlaps) -> pd.DataFrame:
    """List what was deleted, added, merged, split, reshaped, renumbered or rearranged.

    A particle before and one after belong together where one of them keeps more than half of its
    voxels in the other, or where they have the same number and overlap at all. Groups of
    particles that belong together are one change: none after is deleted, none before added,
    several before merged, several after split, several on both sides rearranged, one on both
    sides reshaped, or renumbered where only the number changed.

    Parameters
    ----------
    overlaps
        Of the whole volume; ``true`` is the label before, ``predicted`` the one after.

    Returns
    -------
    pandas.DataFrame
        ``kind, particles_before, particles_after`` (numbers parted by blanks) and
        ``voxels_changed`` (voxels of the group whose number is another one now), by the smallest
        particle number. A voxel that went from one group to another counts in both.
    """
    groups = _group_particles(overlaps)
    rows = []
    for before, after in groups:
        touched = np.isin(overlaps.true, list(before)) | np.isin(overlaps.predicted, list(after))
        moved = touched & (overlaps.true != overlaps.predicted)
        kind = _name_change(before, after, overlaps, moved)
        if kind is not None:
            rows.append(
                {
                    "kind": kind,
                    "particles_before": " ".join(map(str, sorted(before))),
                    "particles_after": " ".join(map(str, sorted(after))),
                    "voxels_changed": int(overlaps.voxels[moved].sum()),
                }
            )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({**dict.fromkeys(COLUMNS, "str"), "voxels_changed": np.int64})


def _group_particles(overlaps: Overlaps) -> list[tuple[set[int], set[int]]]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    sides = []
    linked = overlaps.true == overlaps.predicted
    for labels in (overlaps.true, overlaps.predicted):
        values, at = np.unique(labels, return_inverse=True)
        size = np.bincount(at, overlaps.voxels, len(values))
        linked |= 2 * overlaps.voxels > size[at]
        sides.append((values, at))
    (old, old_at), (new, new_at) = sides
    linked &= (overlaps.true > 0) & (overlaps.predicted > 0)
    edges = (old_at[linked], len(old) + new_at[linked])
    shape = 2 * (len(old) + len(new),)
    _, group = connected_components(coo_array((linked[linked], edges), shape=shape), directed=False)
    members: dict[int, tuple[set[int], set[int]]] = {}
    for side, values in enumerate((old, new)):
        for label, owner in zip(values.tolist(), np.split(group, [len(old)])[side], strict=True):
            if label > 0:
                members.setdefault(int(owner), (set(), set()))[side].add(label)
    return sorted(members.values(), key=lambda pair: min(pair[0] | pair[1]))


def _name_change(
    before: set[int], after: set[int], overlaps: Overlaps, moved: NDArray[np.bool_]
) -> str | None:
    if not after:
        return "deleted"
    if not before:
        return "added"
    if len(before) > 1 or len(after) > 1:
        if len(after) == 1:
            return "merged"
        return "split" if len(before) == 1 else "rearranged"
    if not moved.any():
        return None
    (old,), (new,) = before, after
    pairs = set(zip(overlaps.true[moved].tolist(), overlaps.predicted[moved].tolist(), strict=True))
    return "renumbered" if pairs == {(old, new)} else "reshaped"
