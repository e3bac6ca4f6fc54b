"""Images with labels to train on: phantom sections rendered once, and the user's pairs."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.atomic_write import write_model_file
from ncm_kedro.errors import ModelError
from ncm_kedro.params.tomo_phantoms import TomoSectionParams
from ncm_kedro.params.tomo_train import TomoTrainParams
from ncm_kedro.process_pool import open_process_pool
from ncm_kedro.synthetic.tomo.sections import training_section
from ncm_kedro.tomo.training.crops import CropSource, LabelledSection, SectionSet
from ncm_kedro.tomo.training.pairs import find_pairs, load_pair
from ncm_kedro.tomo.volumes.volume import measure_grey_range, normalise_sections

_SHARD = 64
_SPLIT_STREAM = 0
_LOG_EVERY_S = 60.0
_log = logging.getLogger(__name__)


class PhantomSections:
    """Phantom sections kept on disk; each depends on the seed and its number alone."""

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
        started = logged = time.monotonic()
        with open_process_pool(workers) as pool:
            jobs = [pool.submit(self._render_shard, shard) for shard in missing]
            for number, job in enumerate(as_completed(jobs), start=1):
                job.result()
                if time.monotonic() - logged > _LOG_EVERY_S:
                    logged = time.monotonic()
                    _log.info("rendered %d of %d shards in %.0f s", number, len(missing),
                              logged - started)  # fmt: skip

    def _claim_folder(self) -> None:
        """Write what the folder holds, or compare with what it holds already."""
        wanted = {"size_px": self._size_px, "seed": self._seed, "shard": _SHARD,
                  "params": self._params.model_dump(mode="json")}  # fmt: skip
        marker = self._folder / "sections.json"
        if marker.is_file():
            if json.loads(marker.read_text(encoding="utf-8")) != wanted:
                raise ModelError(
                    self._folder,
                    found="phantom sections of other settings",
                    expected="an empty folder, or sections of the same settings",
                    action="delete the folder: the sections are rendered again",
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
    """Sections that are held in memory, as a user's pairs are."""

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


def split_sources(
    params: TomoTrainParams, section_params: TomoSectionParams, work: Path
) -> tuple[list[CropSource], list[CropSource]]:
    """Split the images of each kind into those for training and those that are held out.

    Returns
    -------
    training, held_out : list of CropSource
        Where a kind has too few images to hold any out, all kinds are evaluated on training images.
    """
    sources = collect_sources(params, section_params, work)
    rng = np.random.default_rng([params.seed, _SPLIT_STREAM])
    splits = {
        kind: split_sections(len(source), params.validation_fraction, rng)
        for kind, source in sources.items()
    }
    shares = _share_crops(list(sources), params)
    training = [CropSource(sources[k], splits[k][0], shares[k]) for k in sources]
    held_out = [CropSource(sources[k], splits[k][1], shares[k]) for k in sources]
    return training, [source for source in held_out if len(source.chosen)] or training


def load_held_out(
    params: TomoTrainParams, section_params: TomoSectionParams, work: Path, count: int
) -> list[LabelledSection]:
    """Load some held-out images, of each kind as many."""
    return load_some(split_sources(params, section_params, work)[1], count)


def collect_sources(
    params: TomoTrainParams, section_params: TomoSectionParams, work: Path
) -> dict[str, SectionSet]:
    """Render the phantom sections that are missing and load the user's pairs.

    Returns
    -------
    dict
        ``phantoms`` and ``pairs``, as far as the settings ask for them.
    """
    sources: dict[str, SectionSet] = {}
    if params.phantom_sections:
        phantoms = PhantomSections(
            work / "sections", params.phantom_sections, params.section_px, params.seed,
            section_params,
        )  # fmt: skip
        phantoms.render(params.render_workers)
        sources["phantoms"] = phantoms
    if params.pairs_folder is not None:
        pairs = find_pairs(params.pairs_folder)
        sources["pairs"] = InMemorySections(
            [load_pair(pair, particle_px=params.particle_px) for pair in pairs]
        )
    return sources


def _share_crops(kinds: list[str], params: TomoTrainParams) -> dict[str, float]:
    if len(kinds) == 1:
        return {kinds[0]: 1.0}
    return {"phantoms": 1 - params.pair_share, "pairs": params.pair_share}


def load_some(sources: list[CropSource], count: int) -> list[LabelledSection]:
    """Load held-out images, of each kind as many."""
    each = max(1, count // len(sources))
    return [
        source.sections.load(int(index)) for source in sources for index in source.chosen[:each]
    ]


def _serialise(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
