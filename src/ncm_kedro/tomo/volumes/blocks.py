"""Blocks of a volume, and who works on them: threads, or a dask cluster.

A task reads what it likes (finished arrays only), writes the shards of its own block alone, and
may return small arrays. What it returned is stored beside a mark that the block is finished, so
that an interrupted run resumes and returns the same.
"""

from __future__ import annotations

import logging
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ncm_kedro.atomic_write import open_atomic
from ncm_kedro.errors import SettingsError, StoreError
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.volumes.volume import Triple

Result = Mapping[str, NDArray[np.generic]]
Task = Callable[["Block"], Result | None]

_CONNECT_TIMEOUT_S = 15
_LOG_EVERY_S = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Block:
    """A box of voxels.

    Attributes
    ----------
    start, stop
        First voxel and one past the last, along z, y, x.
    """

    index: int
    start: Triple
    stop: Triple

    @property
    def region(self) -> tuple[slice, slice, slice]:
        """Slices of the block itself."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def shape(self) -> Triple:
        """Voxels along z, y, x."""
        depth, height, width = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return depth, height, width

    def grow(self, halo: int | Triple, shape_zyx: Triple) -> Block:
        """Return the block with a margin on each side, cut at the volume's faces.

        Parameters
        ----------
        halo
            Margin in voxels, one for all axes or one each.
        """
        margin = (halo, halo, halo) if isinstance(halo, int) else halo
        start = tuple(max(0, a - m) for a, m in zip(self.start, margin, strict=True))
        stop = tuple(min(n, b + m) for b, m, n in zip(self.stop, margin, shape_zyx, strict=True))
        return Block(self.index, (start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def within(self, outer: Block) -> tuple[slice, slice, slice]:
        """Return the slices that cut this block out of an array of ``outer``."""
        z, y, x = (
            slice(a - o, b - o) for a, b, o in zip(self.start, self.stop, outer.start, strict=True)
        )
        return z, y, x


def list_blocks(shape_zyx: Triple, edges_zyx: Triple) -> list[Block]:
    """Cut a volume into blocks, x running fastest.

    Parameters
    ----------
    shape_zyx
        Voxels along z, y, x.
    edges_zyx
        Edges of a block; an edge as long as the axis gives slabs.

    Returns
    -------
    list of Block
        Disjoint, together the whole volume; the last ones along an axis may be smaller.
    """
    starts = [range(0, n, edge) for n, edge in zip(shape_zyx, edges_zyx, strict=True)]
    blocks = []
    for index, (z, y, x) in enumerate(product(*starts)):
        stop = tuple(
            min(a + edge, n) for a, edge, n in zip((z, y, x), edges_zyx, shape_zyx, strict=True)
        )
        blocks.append(Block(index, (z, y, x), (stop[0], stop[1], stop[2])))
    return blocks


def run_blocks(
    task: Task,
    blocks: Sequence[Block],
    *,
    finished: Path,
    compute: TomoComputeParams,
    title: str,
) -> list[dict[str, NDArray[np.generic]]]:
    """Run a task on every block that is not finished yet.

    Parameters
    ----------
    task
        Called with a block; must depend on nothing but the block and finished arrays. For a
        cluster it must pickle.
    finished
        Folder of the marks of finished blocks, one ``.npz`` each; made where it is missing.
        It belongs to this task and this cutting into blocks alone.

    Returns
    -------
    list of dict of ndarray
        What each block returned, empty where it returned None.

    Raises
    ------
    SettingsError
        If the cluster does not respond.
    Exception
        The first one that a task raised; blocks that were finished stay finished.
    """
    finished.mkdir(parents=True, exist_ok=True)
    pending = [block for block in blocks if not _mark(finished, block).is_file()]
    if len(pending) < len(blocks):
        _log.info("%s: %d of %d blocks are finished already", title, len(blocks) - len(pending),
                  len(blocks))  # fmt: skip
    if pending:
        _run_all(task, pending, compute, finished, title)
    return [_read_result(_mark(finished, block)) for block in blocks]


def _run_all(
    task: Task, pending: Sequence[Block], compute: TomoComputeParams, finished: Path, title: str
) -> None:
    waiting = iter(pending)
    number, logged = 0, time.monotonic()
    with (
        _open_executor(compute) as (executor, limit),
        tqdm(total=len(pending), desc=title, unit="block", disable=None) as bar,
    ):
        running = {executor.submit(_call, task, block): block for block in islice(waiting, limit)}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                _write_result(_mark(finished, running.pop(future)), future.result())
                for block in islice(waiting, 1):
                    running[executor.submit(_call, task, block)] = block
                number += 1
                bar.update()
                if bar.disable and time.monotonic() - logged > _LOG_EVERY_S:
                    logged = time.monotonic()
                    _log.info("%s: %d of %d blocks", title, number, len(pending))


def _call(task: Task, block: Block) -> Result | None:
    return task(block)


@contextmanager
def _open_executor(compute: TomoComputeParams) -> Iterator[tuple[Executor, int | None]]:
    """Open threads, or a dask cluster, and how many blocks may be in flight (None: all)."""
    if compute.dask_address is None:
        with ThreadPoolExecutor(compute.workers, thread_name_prefix="blocks") as pool:
            yield pool, compute.workers
        return
    from distributed import Client, KilledWorker

    where = f"dask_address {compute.dask_address}"
    try:
        client = Client(compute.dask_address, timeout=_CONNECT_TIMEOUT_S, set_as_default=False,
                        name="ncm_kedro")  # fmt: skip
    except (OSError, ValueError) as error:
        raise SettingsError(
            where,
            found=f"no scheduler that responds within {_CONNECT_TIMEOUT_S} s ({error})",
            expected="the address of a running dask scheduler, as tcp://host:8786",
            action="start the cluster, correct dask_address in conf/local, or set it to null to "
            "use this machine's threads",
        ) from error
    with client:  # closing it cancels what is in flight
        try:
            yield client.get_executor(pure=False), None
        except (KilledWorker, CancelledError) as error:
            raise SettingsError(
                where,
                found=f"a cluster that was lost while it worked ({error!r})",
                expected="a scheduler that lives, and workers with memory for a block",
                action="look at the workers' logs, give them more memory or take a smaller "
                "block_edge_vx, then start again: finished blocks are not computed again",
            ) from error


def _mark(finished: Path, block: Block) -> Path:
    return finished / f"{block.index:06d}.npz"


def _write_result(path: Path, result: Result | None) -> None:
    with open_atomic(path) as file:
        np.savez(file, **dict(result or {}))  # type: ignore[arg-type]


def _read_result(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StoreError(
            path,
            found=f"the record of a finished block that cannot be read ({error})",
            expected="what the block returned",
            action="delete this file and start again: the block alone is redone",
        ) from error
