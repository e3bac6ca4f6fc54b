"""Training the particle detector: from settings to a folder that segments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ncm_kedro.atomic_write import write_model_file
from ncm_kedro.params.tomo_phantoms import TomoSectionParams
from ncm_kedro.params.tomo_segment import SectionSegmentParams
from ncm_kedro.params.tomo_train import TomoTrainParams
from ncm_kedro.tomo.detector.detector import load_detector
from ncm_kedro.tomo.detector.files import DETECTOR_FILE
from ncm_kedro.tomo.detector.network import Parity, export_network, save_network
from ncm_kedro.tomo.sections.sections import SectionInstances, segment_section
from ncm_kedro.tomo.training.crops import CropSource
from ncm_kedro.tomo.training.fit import EpochReport, FittedNetwork, History, fit_network
from ncm_kedro.tomo.training.pairs import find_pairs, load_pair
from ncm_kedro.tomo.training.sections import (
    InMemorySections,
    LabelledSection,
    PhantomSections,
    SectionSet,
    split_sections,
)
from ncm_kedro.tomo.training.thresholds import Thresholds, choose_thresholds
from ncm_kedro.tomo.volumes.volume import GREY_PERCENTILES

_SPLIT_STREAM = 0
_EXAMPLES = 4


@dataclass(frozen=True)
class TrainingExample:
    """A held-out section, its truth, and what the trained detector finds in it."""

    section: LabelledSection
    found: SectionInstances


@dataclass(frozen=True)
class TrainingResult:
    """A trained detector.

    Attributes
    ----------
    folder
        The detector's folder: StarDist's files, ``detector.onnx`` and ``detector.json``.
    history
        A row per epoch: losses, learning rate, seconds.
    best_epoch
        Epoch, from 1, that the weights are of.
    thresholds
        Chosen on held-out images, with the average precision that they reach there.
    parity
        Largest differences between the ONNX export and Keras.
    counts
        Numbers of images for training and held out.
    examples
        Some held-out sections with what is found in them.
    """

    folder: Path
    history: History
    best_epoch: int
    thresholds: Thresholds
    parity: Parity
    counts: dict[str, int]
    examples: tuple[TrainingExample, ...]


def train_detector(
    params: TomoTrainParams,
    section_params: TomoSectionParams,
    work: Path,
    *,
    report: EpochReport | None = None,
) -> TrainingResult:
    """Train a detector on phantom sections, on the user's pairs, or on a mixture.

    Parameters
    ----------
    params
        Settings of the training.
    section_params
        How far phantom sections vary.
    work
        Folder of rendered sections, of the state after the last epoch, and of the result. A run
        that was killed goes on from there.
    report
        Called after each epoch with its number, from 1, and its row of the history.

    Returns
    -------
    TrainingResult
        The detector and how it came about.

    Raises
    ------
    ModelError
        If the work folder cannot be used, or the export differs from the network.
    FrameError
        If the user's pairs cannot be read.
    """
    training, held_out = split_sources(params, section_params, work)
    fitted = fit_network(training, held_out, params, work / "fit", report=report)
    folder = work / "detector"
    save_network(fitted.model, folder)
    sections = _load_some(held_out, params.threshold_images)
    thresholds, parity = _finish_folder(folder, fitted, sections, params)
    counts = {
        name: sum(len(source.chosen) for source in sources)
        for name, sources in (("training", training), ("held_out", held_out))
    }
    return TrainingResult(
        folder, fitted.history, fitted.best_epoch, thresholds, parity, counts,
        _segment_examples(folder, sections, params),
    )  # fmt: skip


def split_sources(
    params: TomoTrainParams, section_params: TomoSectionParams, work: Path
) -> tuple[list[CropSource], list[CropSource]]:
    """Split the images of each kind into those for training and those that are held out.

    Parameters
    ----------
    params, section_params, work
        As for `train_detector`; the same settings give the same split.

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
    """Load some held-out images, of each kind as many.

    Parameters
    ----------
    params, section_params, work
        As for `train_detector`.
    count
        How many at the most.
    """
    return _load_some(split_sources(params, section_params, work)[1], count)


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


def starter_recipe() -> TomoTrainParams:
    """Return the settings that the starter model was trained with."""
    return TomoTrainParams(
        phantom_sections=6016, section_px=336, epochs=46, steps_per_epoch=200, seed=20221
    )


def _share_crops(kinds: list[str], params: TomoTrainParams) -> dict[str, float]:
    if len(kinds) == 1:
        return {kinds[0]: 1.0}
    return {"phantoms": 1 - params.pair_share, "pairs": params.pair_share}


def _load_some(sources: list[CropSource], count: int) -> list[LabelledSection]:
    """Load held-out images, of each kind as many."""
    each = max(1, count // len(sources))
    return [
        source.sections.load(int(index)) for source in sources for index in source.chosen[:each]
    ]


def _finish_folder(
    folder: Path,
    fitted: FittedNetwork,
    sections: list[LabelledSection],
    params: TomoTrainParams,
) -> tuple[Thresholds, Parity]:
    """Choose thresholds, export, and write what belongs beside the weights."""
    parity = export_network(folder, model=fitted.model)
    thresholds = choose_thresholds(load_detector(folder), sections)
    _write_json(folder / "thresholds.json", {"prob": thresholds.prob, "nms": thresholds.overlap})
    best = fitted.history[fitted.best_epoch - 1]
    summary = {
        "format": "ncm-particle-detector",
        "version": 1,
        "particle_px": params.particle_px,
        "grey_percentiles": list(GREY_PERCENTILES),
        "trained_on": {
            "phantom_sections": params.phantom_sections,
            "pairs": params.pairs_folder is not None,
        },
        "onnx_max_error": {"prob": parity.prob, "dist_px": parity.dist_px},
        "training": {
            "settings": params.model_dump(mode="json", exclude={"pairs_folder", "start_from"}),
            "best_epoch": fitted.best_epoch,
            "held_out_loss": best["val_loss"],
            "held_out_precision": thresholds.precision,
            "seconds": round(sum(row["seconds"] for row in fitted.history)),
        },
    }
    _write_json(folder / DETECTOR_FILE, summary)
    return thresholds, parity


def _segment_examples(
    folder: Path, sections: list[LabelledSection], params: TomoTrainParams
) -> tuple[TrainingExample, ...]:
    detector = load_detector(folder)
    how = SectionSegmentParams(particle_px=params.particle_px, scales=(1.0,), turns=False)
    return tuple(
        TrainingExample(section, segment_section(section.image_yx, detector, how))
        for section in sections[:_EXAMPLES]
    )


def _write_json(path: Path, content: dict[str, object]) -> None:
    write_model_file(path, (json.dumps(content, indent=2) + "\n").encode())
