"""Images with labels to train on: phantom sections rendered once, and the user's pairs."""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.atomic_write import write_model_file
from ncm_kedro.errors import ModelError
from ncm_kedro.params.tomo_phantoms import TomoSectionParams
from ncm_kedro.synthetic.tomo.sections import training_section
from ncm_kedro.tomo.volumes.volume import measure_grey_range, normalise_sections

_SHARD = 64
_LOG_EVERY_S = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledSection:
    """An image and the outlines in it.

    Attributes
    ----------
    image_yx
        Normalised grey values (H, W): 0 and 1 at the low and high percentile.
    labels_yx
        Particle numbers (H, W), 0 for background.
    """

    image_yx: NDArray[np.float32]
    labels_yx: NDArray[np.int32]


class SectionSet(Protocol):
    """Labelled sections by number."""

    def __len__(self) -> int:
        """Count the sections."""

    def load(self, index: int) -> LabelledSection:
        """Load one section."""


class PhantomSections:
    """Phantom sections kept on disk; each depends on the seed and its number alone.

    Parameters
    ----------
    folder
        Where they are kept.
    count
        Number of sections.
    size_px
        Edge of a section.
    seed
        Of the sections.
    params
        How far sections vary.
    """

    def __init__(
        self, folder: Path, count: int, size_px: int, seed: int, params: TomoSectionParams
    ) -> None:
        self._folder = folder
        self._count = count
        self._size_px = size_px
        self._seed = seed
        self._params = params
        self._open: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint16]]] = {}

    def __len__(self) -> int:
        return self._count

    def load(self, index: int) -> LabelledSection:
        """Load one section, normalised by its own percentiles."""
        shard, row = divmod(index, _SHARD)
        if shard not in self._open:
            images, labels = (np.load(path, mmap_mode="r") for path in self._paths(shard))
            self._open[shard] = (images, labels)
        images, labels = self._open[shard]
        image_yx = np.asarray(images[row])
        grey = normalise_sections(image_yx, *measure_grey_range(image_yx))
        return LabelledSection(grey, labels[row].astype(np.int32))

    def render(self, workers: int) -> None:
        """Render what is missing; rendered shards are kept.

        Raises
        ------
        ModelError
            If the folder holds sections of other settings, or cannot be written to.
        """
        self._claim_folder()
        shards = range(-(-self._count // _SHARD))
        missing = [shard for shard in shards if not self._paths(shard)[1].is_file()]
        if not missing:
            return
        _log.info("rendering %d phantom sections of %d px into %s", len(missing) * _SHARD,
                  self._size_px, self._folder)  # fmt: skip
        if workers == 1:
            for shard in missing:
                self._render_shard(shard)
            return
        context = multiprocessing.get_context("spawn")
        started = logged = time.monotonic()
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            jobs = [pool.submit(self._render_shard, shard) for shard in missing]
            for number, job in enumerate(as_completed(jobs), start=1):
                job.result()
                if time.monotonic() - logged > _LOG_EVERY_S:
                    logged = time.monotonic()
                    _log.info("rendered %d of %d shards in %.0f s", number, len(missing),
                              logged - started)  # fmt: skip

    def _claim_folder(self) -> None:
        """Write what the folder holds, or compare with what it says."""
        wanted = {"size_px": self._size_px, "seed": self._seed, "shard": _SHARD,
                  "params": self._params.model_dump(mode="json")}  # fmt: skip
        marker = self._folder / "sections.json"
        if marker.is_file():
            if json.loads(marker.read_text(encoding="utf-8")) != wanted:
                raise ModelError(
                    self._folder,
                    found="phantom sections of other settings",
                    expected="an empty folder, or sections of the same settings",
                    action="delete the folder: the sections are rendered anew",
                )
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        write_model_file(marker, json.dumps(wanted).encode())

    def _paths(self, shard: int) -> tuple[Path, Path]:
        return (
            self._folder / f"{shard:05d}_images.npy",
            self._folder / f"{shard:05d}_labels.npy",
        )

    def _render_shard(self, shard: int) -> None:
        images = np.zeros((_SHARD, self._size_px, self._size_px), np.uint8)
        labels = np.zeros(images.shape, np.uint16)
        for row in range(_SHARD):
            rng = np.random.default_rng([self._seed, shard * _SHARD + row])
            section = training_section(rng, self._size_px, self._params)
            images[row] = np.clip(np.rint(section.image_yx), 0, 255)
            labels[row] = section.labels_yx
        image_path, label_path = self._paths(shard)
        write_model_file(image_path, _serialise(images))
        write_model_file(label_path, _serialise(labels))


@dataclass(frozen=True)
class InMemorySections:
    """Sections that are held in memory, as a user's pairs are.

    Attributes
    ----------
    sections
        In their order.
    """

    sections: Sequence[LabelledSection]

    def __len__(self) -> int:
        return len(self.sections)

    def load(self, index: int) -> LabelledSection:
        """Return one section."""
        return self.sections[index]


def split_sections(
    count: int, fraction: float, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split image numbers into training and validation, at least one each where there are two."""
    order = rng.permutation(count)
    held = min(max(1, round(count * fraction)), count - 1) if count > 1 else 0
    return np.sort(order[held:]), np.sort(order[:held])


def _serialise(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
