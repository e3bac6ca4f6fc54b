"""Blocks of a volume, and who works on them: threads, or a dask cluster.

A task reads what it likes (finished arrays only), writes the shards of its own block alone, and
may return small arrays. What it returned is stored beside a mark that the block is finished, so
that a run that was killed goes on and returns the same.
"""

from __future__ import annotations

import logging
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
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
    index
        Position in the list of all blocks.
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
        shape_zyx
            Shape of the volume.
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
    blocks
        All blocks; results come in their order.
    finished
        Folder of the marks of finished blocks, one ``.npz`` each; made where it is missing.
        It belongs to this task and this cutting into blocks alone.
    compute
        Threads or cluster.
    title
        What the progress bar says.

    Returns
    -------
    list of dict of ndarray
        What each block returned, empty where it returned None.

    Raises
    ------
    SettingsError
        If the cluster does not answer.
    Exception
        The first one that a task raised; blocks that were finished stay finished.
    """
    finished.mkdir(parents=True, exist_ok=True)
    pending = [block for block in blocks if not _mark(finished, block).is_file()]
    if len(pending) < len(blocks):
        _log.info("%s: %d of %d blocks are finished already", title, len(blocks) - len(pending),
                  len(blocks))  # fmt: skip
    if pending:
        with _open_runner(compute) as runner:
            _run_all(runner(task, pending), finished, len(pending), title)
    return [_read_result(_mark(finished, block)) for block in blocks]


_Done = tuple[Block, "Result | None"]
_Runner = Callable[[Task, Sequence[Block]], Iterator[_Done]]


def _run_all(done: Iterator[_Done], finished: Path, total: int, title: str) -> None:
    logged = time.monotonic()
    with tqdm(total=total, desc=title, unit="block", disable=None) as bar:
        for number, (block, result) in enumerate(done, start=1):
            _write_result(_mark(finished, block), result)
            bar.update()
            if bar.disable and time.monotonic() - logged > _LOG_EVERY_S:
                logged = time.monotonic()
                _log.info("%s: %d of %d blocks", title, number, total)


def _open_runner(compute: TomoComputeParams) -> AbstractContextManager[_Runner]:
    if compute.dask_address is None:
        return nullcontext(_ThreadRunner(compute.workers))
    return _ClusterRunner(compute.dask_address)


class _ThreadRunner:
    """Keeps as many blocks in flight as there are threads, and no more."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def __call__(self, task: Task, blocks: Sequence[Block]) -> Iterator[_Done]:
        waiting = iter(blocks)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="blocks")
        try:
            running: dict[Future[Result | None], Block] = {
                pool.submit(task, block): block for block in islice(waiting, self._workers)
            }
            while running:
                ready, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    block = running.pop(future)
                    yield block, future.result()
                    running.update(
                        {pool.submit(task, block): block for block in islice(waiting, 1)}
                    )
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _ClusterRunner:
    """Sends blocks to a dask cluster; blocks of a worker that dies go to another one."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> _Runner:
        from distributed import Client

        try:
            self._client = Client(
                self._address, timeout=_CONNECT_TIMEOUT_S, set_as_default=False, name="ncm_kedro"
            )
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"dask_address {self._address}",
                found=f"no scheduler that answers within {_CONNECT_TIMEOUT_S} s ({error})",
                expected="the address of a running dask scheduler, as tcp://host:8786",
                action="start the cluster, mend dask_address in conf/local, or set it to null to "
                "use this machine's threads",
            ) from error
        return self._run

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _run(self, task: Task, blocks: Sequence[Block]) -> Iterator[_Done]:
        from distributed import KilledWorker, as_completed
        from distributed.client import FutureCancelledError

        owners = {
            self._client.submit(task, block, pure=False, key=f"block-{os.urandom(8).hex()}"): block
            for block in blocks
        }
        try:
            for future in as_completed(list(owners), loop=self._client.loop):
                yield owners.pop(future), future.result()
        except (KilledWorker, FutureCancelledError) as error:
            raise SettingsError(
                f"dask_address {self._address}",
                found=f"a cluster that was lost while it worked ({error})",
                expected="a scheduler that lives, and workers with memory for a block",
                action="look at the workers' logs, give them more memory or take a smaller "
                "block_edge_vx, then start again: finished blocks are kept",
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
