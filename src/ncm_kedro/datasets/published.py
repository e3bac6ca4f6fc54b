"""A folder of results by sample, written so that a run may be killed at any moment.

Layout::

    <sample><suffix>/          a finished result
    <sample><suffix>.partial/  unfinished work: resumed where it is that of the plan, else removed
    <sample><suffix>.old/      the previous result, for the moment of the exchange

A finished result takes the place of the old one by two renames; an interruption between the two
is repaired before the next load or save.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ncm_kedro.datasets.files import (
    FolderDataset,
    describe_space,
    lock_store,
    read_rejections,
    report_write_errors,
    write_rejections,
)
from ncm_kedro.errors import Rejections, StoreError

PARTIAL, OLD = ".partial", ".old"
_KEPT = "finished results are intact, and finished blocks are not computed again"
_log = logging.getLogger(__name__)


class PublishedFolder(FolderDataset):
    """Results by sample; saving computes those that are missing, and can be resumed.

    Attributes
    ----------
    suffix
        End of the folder of a result, behind the sample.
    holds
        What the results are, as in ``volumes``.
    may_be_missing
        Whether a folder without results loads as none.
    """

    suffix = ""
    holds = "results"
    may_be_missing = False

    @abstractmethod
    def _read_fingerprint(self, result: Path) -> str | None:
        """Return the identity of a finished result, None where there is none."""

    @abstractmethod
    def _compute(self, partial: Path, plan: Any) -> None:
        """Compute a result in the folder of unfinished work, going on with what it holds."""

    def _find_result(self, partial: Path) -> Path:
        """Where in the folder of unfinished work a result is made."""
        return partial

    def content_hash(self) -> str | None:
        """Return a hash over the fingerprints of what `load` reads, None where there is none."""
        told = [
            f"{self._sample(store)} {self._read_fingerprint(store)}"
            for store in self._list_results(read_rejections(self._filepath))
        ]
        return hashlib.sha256("\n".join(told).encode()).hexdigest() if told else None

    def _save_all(self, plans: Mapping[str, Any]) -> None:
        """Compute what is not there yet; a sample that fails is rejected, the others continue.

        Its finished blocks stay, unless its content is what is wrong.

        Parameters
        ----------
        plans
            By sample: a plan with a ``name`` and a ``fingerprint``, or what makes it.

        Raises
        ------
        StoreError
            If another run writes here, the disk is full, or the folder may not be written.
        NcmError
            If not one sample can be used.
        """
        rejections = Rejections()
        with self._write():
            self._filepath.mkdir(parents=True, exist_ok=True)
            for name, plan in plans.items():
                store = self._store(name)
                with rejections.catch(name, store):
                    self._save_one(plan() if callable(plan) else plan)
                if name in rejections and rejections[name].__cause__ is None:
                    shutil.rmtree(_beside(store, PARTIAL), ignore_errors=True)
            write_rejections(self._filepath, rejections.reasons)
        rejections.check_left(len(plans))

    def _save_one(self, plan: Any) -> None:
        store = self._store(plan.name)
        partial = _beside(store, PARTIAL)
        self._recover(store)
        if self._read_fingerprint(store) == plan.fingerprint:
            _log.info("%s is up to date", store)
            shutil.rmtree(partial, ignore_errors=True)
            return
        _log.info("%s: computing, %s", store, describe_space(self._filepath))
        self._compute(partial, plan)
        self._publish(store)

    def _list_finished(self) -> tuple[list[Path], dict[str, str]]:
        """List the results that count, and why samples of the last save were rejected.

        Raises
        ------
        StoreError
            If there is neither.
        """
        interrupted = list(self._filepath.glob(f"*{self.suffix}{OLD}"))
        if interrupted:
            with self._write():
                for path in interrupted:
                    self._recover(path.with_name(path.name.removesuffix(OLD)))
        rejections = read_rejections(self._filepath)
        stores = self._list_results(rejections)
        if not stores and not rejections and not self.may_be_missing:
            raise StoreError(
                self._filepath,
                found=f"no finished {self.holds}",
                expected=f"{self.holds} as <sample>{self.suffix}/",
                action="run the pipeline that writes this data set to its end",
            )
        return stores, rejections

    def _list_results(self, rejected: Mapping[str, str]) -> list[Path]:
        return sorted(
            path
            for path in self._filepath.glob(f"*{self.suffix}")
            if self._is_result(path)
            and not path.name.endswith((PARTIAL, OLD))
            and self._sample(path) not in rejected
        )

    def _is_result(self, path: Path) -> bool:
        return path.is_dir()

    @contextmanager
    def _write(self) -> Iterator[None]:
        """Hold the right to write here, and locate errors of the disk."""
        with report_write_errors(self._filepath, _KEPT), lock_store(self._filepath):
            yield

    def _exists(self) -> bool:
        return any(self._read_fingerprint(path) for path in self._list_results({}))

    def _publish(self, store: Path) -> None:
        """Exchange a finished result for the old one; the renames survive a power cut."""
        partial, old = _beside(store, PARTIAL), _beside(store, OLD)
        if store.is_dir():
            store.rename(old)
        _sync_folder(self._find_result(partial))
        self._find_result(partial).rename(store)
        _sync_folder(self._filepath)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)

    def _recover(self, store: Path) -> None:
        """Repair an exchange that was interrupted between its two renames."""
        old = _beside(store, OLD)
        if not old.is_dir():
            return
        if store.is_dir():
            shutil.rmtree(old)
        elif self._read_fingerprint(self._find_result(_beside(store, PARTIAL))) is not None:
            self._publish(store)
        else:
            old.rename(store)

    def _store(self, sample: str) -> Path:
        return self._filepath / f"{sample}{self.suffix}"

    def _sample(self, store: Path) -> str:
        return store.name.removesuffix(self.suffix)


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(store: Path, suffix: str) -> Path:
    return store.with_name(store.name + suffix)
