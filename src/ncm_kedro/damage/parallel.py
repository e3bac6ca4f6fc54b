"""Many small independent tasks on threads, with progress; the order of the answers is theirs."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_TENTHS = 4


def run_tasks(
    tasks: Sequence[Callable[[], Answer]], workers: int, what: str, every: int = _TENTHS
) -> list[Answer]:
    """Run tasks and return their answers in order.

    Parameters
    ----------
    tasks
        What to run; compiled work that lets other threads on.
    workers
        Threads.
    what
        What the tasks are, for the log.
    every
        How often progress is logged.
    """
    answers: list[Answer] = []
    marks = {len(tasks) * part // every for part in range(1, every + 1)}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        running = [pool.submit(task) for task in tasks]
        try:
            for done, future in enumerate(running, start=1):
                answers.append(future.result())
                if done in marks:
                    logger.info("%s: %d of %d", what, done, len(tasks))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return answers


def make_rng(seed: int, sample: str, purpose: str, number: int = 0) -> np.random.Generator:
    """Return the source of random numbers of one task, whatever runs beside it.

    Parameters
    ----------
    seed
        The run's seed.
    sample, purpose, number
        What the task is.
    """
    names = (zlib.crc32(name.encode()) for name in (sample, purpose))
    return np.random.default_rng([seed, *names, number])
