"""Processes that work for another one: they start clean, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor


def open_process_pool(
    workers: int, initialise: Callable[[], None] | None = None
) -> ProcessPoolExecutor:
    """Open a pool of spawned processes: threads of libraries do not survive a fork.

    A process that is killed takes its workers along: each would finish its task first, minutes in
    which it holds a core and writes beside the run that resumes.

    Parameters
    ----------
    workers
        Number of processes.
    initialise
        Called in each of them before its first task.
    """
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, spawn, _start_worker, (initialise,))


def _start_worker(initialise: Callable[[], None] | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initialise is not None:
        initialise()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
