"""One volume on disk.

Layout (Zarr v3, NGFF 0.5)::

    <sample>.ome.zarr/zarr.json           attributes ``ome`` (NGFF) and ``ncm`` (identity)
    <sample>.ome.zarr/0, 1, ...           the pyramid, (Z, Y, X)
    <sample>.ome.zarr/labels/<name>/0 ... further arrays of the same shape, each a pyramid
    <sample>.ome.zarr.partial/            the same, unfinished; ``.work`` in it holds scratch

A partial store is resumed where its ``ncm`` is that of the plan, else it is removed.

A shard is a block of work, so that no two tasks write to one file; in it lie chunks of about
64^3. Measured on 256 x 512 x 512 real grey values with noise (one thread, checksums on): lz4
with bit shuffle writes 183 and reads 439 MB/s at 84 % of the size, zstd level 1 170 and 359 MB/s
at 83 %; chunks of 32^3 read at 90 MB/s, and without shards there are eight times as many files.
Metadata is not consolidated: Zarr v3 does not specify that, and a local disk gains nothing.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike
from zarr.codecs import BloscCodec, Crc32cCodec

from ncm_kedro.datasets.tomograms.pyramid import (
    FORMAT,
    FORMAT_VERSION,
    LABELS,
    DownsampleBlock,
    Level,
    Method,
    describe_image,
    describe_label_list,
    describe_plan,
    list_levels,
    read_scale,
)
from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.volumes.blocks import list_blocks, run_blocks
from ncm_kedro.tomo.volumes.ingest import guard_array
from ncm_kedro.tomo.volumes.volume import Spacing, Triple, Volume, VolumePlan, VolumeTarget

SUFFIX = ".ome.zarr"
_WORK = ".work"
_CHUNK_VX = 64
_WINDOW_PERCENTILES = (1.0, 99.8)
_LEVEL_VERSION = 2  # raised when coarser levels get other values
_log = logging.getLogger(__name__)


def read_identity(store: Path) -> dict[str, Any] | None:
    """Read the attribute ``ncm`` of a store.

    Returns
    -------
    dict or None
        None where there is no store, an unreadable one, or one of another format.
    """
    try:
        attributes = json.loads((store / "zarr.json").read_bytes())["attributes"]["ncm"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = isinstance(attributes, dict) and (
        (attributes.get("format"), attributes.get("version")) == (FORMAT, FORMAT_VERSION)
    )
    return attributes if known else None


def write_volume(partial: Path, plan: VolumePlan, compute: TomoComputeParams) -> None:
    """Compute a volume into a partial store.

    Parameters
    ----------
    compute
        Threads or cluster, and the edge of a shard.
    """
    identity = describe_plan(plan, compute)
    found = read_identity(partial)
    done = found is not None and {**found, "files": None} == {
        **identity, "finished": True, "files": None
    }  # fmt: skip
    if not done:
        if found != identity:
            if found is not None:
                _log.warning("%s: unfinished work of another input, setting or version is removed "
                             "and done again", partial)  # fmt: skip
            _create_partial(partial, plan, identity, compute.block_edge_vx)
        target = _open_target(partial, plan)
        plan.write(target)
        _write_pyramids(partial, plan, target, compute)
        _finish(partial, plan, identity)
    shutil.rmtree(partial / _WORK, ignore_errors=True)


def load_volume(store: Path) -> Volume:
    """Open a finished volume; no voxel is read.

    Parameters
    ----------
    store
        A folder ``<sample>.ome.zarr``.

    Raises
    ------
    StoreError
        If there is none, or its metadata is damaged.
    """
    identity = read_identity(store)
    if identity is None or not identity.get("finished"):
        raise _unreadable(store, "no finished volume of this project" if store.is_dir() else
                          "no such folder")  # fmt: skip
    try:
        group = zarr.open_group(store, mode="r", zarr_format=3)
        levels, sizes_um = _open_levels(group)
        extras = {name: guard_array(group[f"{LABELS}/{name}/0"]) for name in identity["extras"]}
        attributes = {
            **identity["attributes"], **dict(levels[0].attrs),
            "fingerprint": identity["fingerprint"],
        }  # fmt: skip
        depth, height, width = (float(size) for size in identity["voxel_size_um"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _unreadable(store, f"metadata that cannot be read ({error!r})") from error
    _check_files(store, identity.get("files"))
    return Volume(
        name=str(identity["sample"]),
        path=store,
        array=levels[0],
        levels=levels,
        voxel_size_um=(depth, height, width),
        extras=extras,
        attributes=attributes,
        level_sizes_um=sizes_um,
    )


def _check_files(store: Path, expected: int | None) -> None:
    """Reject lost files and files of no bytes, which Zarr would take for the fill value."""
    files = [path for path in store.rglob("c/**/*") if path.is_file()]
    for file in files:
        if not file.stat().st_size:
            raise _unreadable(file, "a file of 0 bytes")
    if expected is not None and len(files) != expected:
        raise _unreadable(store, f"{len(files)} files of data, where {expected} were written")


def _open_levels(group: zarr.Group) -> tuple[tuple[zarr.Array, ...], tuple[Spacing, ...]]:
    datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
    arrays = tuple(guard_array(group[entry["path"]]) for entry in datasets)
    return arrays, tuple(read_scale(entry) for entry in datasets)


def _create_partial(
    partial: Path, plan: VolumePlan, identity: Mapping[str, Any], edge_vx: int
) -> None:
    """Create all arrays; the identity is written last and marks them as complete."""
    if partial.exists():
        shutil.rmtree(partial)
    group = zarr.create_group(partial, zarr_format=3)
    levels = list_levels(plan.shape_zyx, plan.voxel_size_um)
    _create_levels(group, levels, plan.dtype, edge_vx)
    if plan.extras:
        labels = group.create_group(LABELS)
        labels.attrs["ome"] = describe_label_list(sorted(plan.extras))
        for name, kind in sorted(plan.extras.items()):
            extra = labels.create_group(name)
            method: Method = "mean" if name in plan.averaged else "mode"
            extra.attrs["ome"] = describe_image(
                name, levels, method=method, is_label=True, window=None
            )
            _create_levels(extra, levels, kind, edge_vx)
    (partial / _WORK).mkdir()
    group.attrs["ncm"] = dict(identity)


def _create_levels(group: zarr.Group, levels: list[Level], kind: DTypeLike, edge_vx: int) -> None:
    chunk = next(size for size in range(min(_CHUNK_VX, edge_vx), 0, -1) if edge_vx % size == 0)
    for number, level in enumerate(levels):
        group.create_array(
            str(number),
            shape=level.shape_zyx,
            dtype=np.dtype(kind),
            chunks=(chunk,) * 3,
            shards=(edge_vx,) * 3,
            compressors=[
                BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec(),
            ],
            fill_value=0,
            dimension_names=("z", "y", "x"),
        )  # fmt: skip


def _open_target(partial: Path, plan: VolumePlan) -> VolumeTarget:
    group = zarr.open_group(partial, mode="r+", zarr_format=3)
    work = partial / _WORK
    work.mkdir(exist_ok=True)
    extras = {name: guard_array(group[f"{LABELS}/{name}/0"]) for name in plan.extras}
    return VolumeTarget(guard_array(group["0"]), extras, work)


def _write_pyramids(
    partial: Path, plan: VolumePlan, target: VolumeTarget, compute: TomoComputeParams
) -> None:
    group = zarr.open_group(partial, mode="r+", zarr_format=3)
    pyramids = [
        ("", plan.is_label),
        *((f"{LABELS}/{name}/", name not in plan.averaged) for name in plan.extras),
    ]
    levels = list_levels(plan.shape_zyx, plan.voxel_size_um)
    edge = compute.block_edge_vx
    edges: Triple = (edge, edge, edge)
    for prefix, picks in pyramids:
        for number, level in enumerate(levels[1:], start=1):
            run_blocks(
                DownsampleBlock(
                    guard_array(group[f"{prefix}{number - 1}"]),
                    group[f"{prefix}{number}"],
                    level.factors_zyx,
                    picks,
                ),
                list_blocks(level.shape_zyx, edges),
                finished=target.work / "pyramid" / prefix.strip("/") / str(number),
                compute=compute,
                title=f"{plan.name}: level {number} of {prefix.strip('/') or 'the volume'}",
                version=_LEVEL_VERSION,
            )


def _finish(partial: Path, plan: VolumePlan, identity: Mapping[str, Any]) -> None:
    group = zarr.open_group(partial, mode="r+", zarr_format=3)
    levels = list_levels(plan.shape_zyx, plan.voxel_size_um)
    window = None if plan.is_label else _choose_window(group, len(levels) - 1)
    ome = describe_image(
        plan.name, levels, method="mode" if plan.is_label else "mean", is_label=plan.is_label,
        window=window,
    )  # fmt: skip
    files = sum(1 for path in partial.rglob("c/**/*") if path.is_file()) - sum(
        1 for path in (partial / _WORK).rglob("c/**/*") if path.is_file()
    )
    group.attrs.update({"ome": ome, "ncm": {**identity, "finished": True, "files": files}})


def _choose_window(group: zarr.Group, coarsest: int) -> dict[str, float]:
    """Choose the grey values that a viewer shows, from the volume's own percentiles if known."""
    kind = group["0"].dtype
    known = dict(group["0"].attrs).get("grey_percentiles")
    if isinstance(known, dict) and known:
        values = [float(value) for value in known.values()]
        start, end = min(values), max(values)
    else:
        coarse_zyx = np.asarray(group[str(coarsest)][:])
        start, end = (float(value) for value in np.percentile(coarse_zyx, _WINDOW_PERCENTILES))
    limits = np.iinfo(kind) if kind.kind in "ui" else None
    low, high = (float(limits.min), float(limits.max)) if limits else (start, end)
    return {"min": low, "max": high, "start": start, "end": max(end, np.nextafter(start, np.inf))}


def _unreadable(store: Path, found: str) -> StoreError:
    return StoreError(
        store,
        found=found,
        expected=f"a finished volume ({FORMAT}, version {FORMAT_VERSION})",
        action="delete this folder and run the pipeline that writes it again",
    )
