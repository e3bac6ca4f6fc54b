"""Blocks of a volume, and who works on them: threads, or a dask cluster.

A task reads what it likes (finished arrays only), writes the shards of its own block alone, and
may return small arrays. What it returned is stored beside a mark that the block is finished, so
that an interrupted run resumes and returns the same. Marks are of one cutting into blocks and one
version of the method: with another one, all blocks are run again.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ncm_kedro.atomic_write import open_atomic, write_atomic
from ncm_kedro.errors import SettingsError
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
    version: int = 1,
) -> list[dict[str, NDArray[np.generic]]]:
    """Run a task on every block that is not finished yet.

    Parameters
    ----------
    task
        Called with a block; must depend on nothing but the block and finished arrays. For a
        cluster it must pickle.
    finished
        Folder of the marks of finished blocks, one ``.npz`` each; made where it is missing.
        It belongs to this task and what it reads alone. Marks of another cutting into blocks or
        of another version are removed; a mark that cannot be read is as good as none.
    version
        Raised when the task makes something else of the same block.

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
    _claim_marks(finished, _identify_work(blocks, version), title)
    known = {block.index: _read_result(_mark(finished, block)) for block in blocks}
    pending = [block for block in blocks if known[block.index] is None]
    if len(pending) < len(blocks):
        _log.info("%s: %d of %d blocks are finished already", title, len(blocks) - len(pending),
                  len(blocks))  # fmt: skip
    if pending:
        known |= _run_all(task, pending, compute, finished, title)
    return [known[block.index] or {} for block in blocks]


def _run_all(
    task: Task, pending: Sequence[Block], compute: TomoComputeParams, finished: Path, title: str
) -> dict[int, dict[str, NDArray[np.generic]] | None]:
    waiting = iter(pending)
    results: dict[int, dict[str, NDArray[np.generic]] | None] = {}
    logged = time.monotonic()
    with (
        _open_executor(compute) as (executor, limit),
        tqdm(total=len(pending), desc=title, unit="block", disable=None) as bar,
    ):
        running = {executor.submit(_call, task, block): block for block in islice(waiting, limit)}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                done, result = running.pop(future), dict(future.result() or {})
                _write_result(_mark(finished, done), result)
                results[done.index] = result
                for block in islice(waiting, 1):
                    running[executor.submit(_call, task, block)] = block
                bar.update()
                if bar.disable and time.monotonic() - logged > _LOG_EVERY_S:
                    logged = time.monotonic()
                    _log.info("%s: %d of %d blocks", title, len(results), len(pending))
    return results


def _call(task: Task, block: Block) -> Result | None:
    return task(block)


@contextmanager
def _open_executor(compute: TomoComputeParams) -> Iterator[tuple[Executor, int | None]]:
    """Open threads, or a dask cluster, and how many blocks may be in flight (None: all)."""
    if compute.dask_address is None:
        with (
            threadpool_limits(1, "blas"),  # threads of BLAS in each block wait for each other
            ThreadPoolExecutor(compute.workers, thread_name_prefix="blocks") as pool,
        ):
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


def _identify_work(blocks: Sequence[Block], version: int) -> str:
    cuts = np.array([(*block.start, *block.stop) for block in blocks], dtype="<i8")
    return hashlib.sha256(cuts.tobytes() + f"|{version}".encode()).hexdigest()[:16]


def _claim_marks(finished: Path, identity: str, title: str) -> None:
    """Make the folder of marks, and remove those of other work; killed here, none stays wrongly."""
    owner = finished / "work"
    if owner.is_file() and owner.read_text(encoding="utf-8") == identity:
        return
    stale = sum(1 for _ in finished.glob("*.npz"))
    if stale:
        _log.warning(
            "%s: %d finished blocks are of other blocks or of another version of the method and "
            "are computed again", title, stale,
        )  # fmt: skip
    if finished.exists():
        shutil.rmtree(finished)
    write_atomic(owner, identity.encode())


def _mark(finished: Path, block: Block) -> Path:
    return finished / f"{block.index:06d}.npz"


def _write_result(path: Path, result: Result) -> None:
    with open_atomic(path) as file:
        np.savez(file, **result)  # type: ignore[arg-type]


def _read_result(path: Path) -> dict[str, NDArray[np.generic]] | None:
    """Read what a block returned; None where it is not finished, or its mark is damaged."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        _log.warning("%s cannot be read (%s): its block is computed again", path, error)
        return None
