"""Training the particle detector: from settings to a folder that segments."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from stardist.matching import matching

from ncm_kedro.atomic_write import write_model_file
from ncm_kedro.learning.evaluation.metrics import bound_draws
from ncm_kedro.learning.evaluation.promotion import Comparison
from ncm_kedro.params.tomo_phantoms import TomoSectionParams
from ncm_kedro.params.tomo_segment import SectionSegmentParams
from ncm_kedro.params.tomo_train import TomoTrainParams
from ncm_kedro.params.tune_train import EvaluationParams
from ncm_kedro.tomo.detector.candidates import predict_candidates, suppress_overlaps, vote_outlines
from ncm_kedro.tomo.detector.detector import Detector, load_detector
from ncm_kedro.tomo.detector.files import DETECTOR_FILE
from ncm_kedro.tomo.detector.network import Parity, export_network, save_network
from ncm_kedro.tomo.detector.sections import SectionInstances, segment_section
from ncm_kedro.tomo.scoring.methods import label_otsu_watershed
from ncm_kedro.tomo.training.crops import LabelledSection
from ncm_kedro.tomo.training.fit import EpochReport, FittedNetwork, History, fit_network
from ncm_kedro.tomo.training.sections import load_some, split_sources
from ncm_kedro.tomo.volumes.volume import GREY_PERCENTILES

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
    work
        Folder of rendered sections, of the state after the last epoch, and of the result. An
        interrupted run resumes from there.
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
    sections = load_some(held_out, params.threshold_images)
    thresholds, parity = _finish_folder(folder, fitted, sections, params)
    counts = {
        name: sum(len(source.chosen) for source in sources)
        for name, sources in (("training", training), ("held_out", held_out))
    }
    return TrainingResult(
        folder, fitted.history, fitted.best_epoch, thresholds, parity, counts,
        _segment_examples(folder, sections, params),
    )  # fmt: skip


def starter_recipe() -> TomoTrainParams:
    """Return the settings that the starter model was trained with."""
    return TomoTrainParams(
        phantom_sections=6016, section_px=336, epochs=46, steps_per_epoch=200, seed=20221
    )


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


PROB_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
OVERLAP_THRESHOLDS = (0.2, 0.3, 0.4)

_IOUS = (0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Thresholds:
    """The best thresholds and what they reach.

    Attributes
    ----------
    prob
        Least probability of a particle.
    overlap
        Overlap, as a fraction of the smaller area, that two particles may have.
    precision
        Average precision TP / (TP + FP + FN) at IoU 0.5, 0.7 and 0.9 over all images together.
    """

    prob: float
    overlap: float
    precision: dict[str, float]


def choose_thresholds(detector: Detector, sections: Sequence[LabelledSection]) -> Thresholds:
    """Try pairs of thresholds; the best mean average precision at IoU 0.5, 0.7 and 0.9 wins.

    Parameters
    ----------
    detector
        The network; its own thresholds are not used.
    sections
        Held-out images at the scale that the network is used at.

    Returns
    -------
    Thresholds
        With the precision that they reach on these images.
    """
    counts = {
        (prob, overlap): np.zeros((len(_IOUS), 2))
        for prob in PROB_THRESHOLDS
        for overlap in OVERLAP_THRESHOLDS
    }
    for section in sections:
        candidates = predict_candidates(
            section.image_yx, detector, scale=1, threshold=min(PROB_THRESHOLDS), turns=False
        )
        for prob, overlap in counts:
            chosen = candidates.take(candidates.prob_n > prob)
            labels = vote_outlines(
                chosen,
                suppress_overlaps(chosen, max_overlap=overlap),
                section.labels_yx.shape,
                weights_n=chosen.prob_n,
                agreement=0.5,
                central=0.6,
            )
            found = matching(section.labels_yx, labels, thresh=_IOUS)
            counts[prob, overlap] += [[m.tp, m.tp + m.fp + m.fn] for m in found]
    precision = {pair: total[:, 0] / np.maximum(total[:, 1], 1) for pair, total in counts.items()}
    prob, overlap = max(precision, key=lambda pair: float(precision[pair].mean()))
    reached = {
        str(iou): round(float(value), 4)
        for iou, value in zip(_IOUS, precision[prob, overlap], strict=True)
    }
    return Thresholds(prob, overlap, reached)


CANDIDATE = "the trained detector"
CURRENT = "the detector in use"
BASELINE = "Otsu watershed"
MEASURE = "mean average precision at IoU 0.5, 0.7 and 0.9"
_SEED_SHARE = 0.35

Labeller = Callable[[NDArray[np.float32]], NDArray[np.integer]]
FloatArray = NDArray[np.float64]


def score_detectors(
    candidate: Detector, reference_model: Detector, sections: Sequence[LabelledSection]
) -> tuple[pd.DataFrame, list[Comparison]]:
    """Score both detectors and the classical method on the same held-out sections.

    Parameters
    ----------
    candidate, reference_model
        The trained detector and the one in use.
    sections
        Sections that neither was trained on; the candidate's best epoch and its thresholds were
        chosen on them, which favours it slightly.

    Returns
    -------
    scores
        A row per method: ``method, ap_50, ap_70, ap_90, recall_50, n_true``, pooled over the
        sections, and the interval of each average precision, ``ap_50_low, ap_50_high, ...``.
    comparisons
        Of the candidate with the classical method and with the detector in use.
    """
    methods: Mapping[str, Labeller] = {
        CANDIDATE: _segment_with(candidate),
        CURRENT: _segment_with(reference_model),
        BASELINE: _label_classically(candidate.particle_px),
    }
    counts = {name: _count_matches(labeller, sections) for name, labeller in methods.items()}
    scores = pd.DataFrame(
        [
            {"method": name, **_pool(found.sum(axis=0)), **_bound_precision(found)}
            for name, found in counts.items()
        ]
    )
    return scores, [
        _compare_detectors(counts[CANDIDATE], counts[name], name) for name in (BASELINE, CURRENT)
    ]


def _compare_detectors(
    candidate: FloatArray, reference: FloatArray, name: str, params: EvaluationParams | None = None
) -> Comparison:
    """Compare counts (S, IoU, 3); sections are drawn with replacement, the same for both."""
    params = EvaluationParams() if params is None else params
    n_sections = len(candidate)
    score, other = (float(_mean_precision(c.sum(axis=0))) for c in (candidate, reference))
    drawn = _draw_sections(n_sections, params)
    ours, theirs = (_mean_precision(np.tensordot(drawn, c, axes=1)) for c in (candidate, reference))
    low, high = bound_draws(ours - theirs, n_sections, params)
    return Comparison(
        CANDIDATE, name, score, other, low, high, n_sections, params.confidence, MEASURE
    )


def _segment_with(detector: Detector) -> Labeller:
    how = SectionSegmentParams(particle_px=detector.particle_px, scales=(1.0,), turns=False)
    return lambda image_yx: (
        segment_section(image_yx, detector, how, grey_range=(0.0, 1.0)).labels_yx
    )


def _label_classically(particle_px: float) -> Labeller:
    """Label sections as volumes of one slice, lengths in px."""
    area_px2 = np.pi / 4 * (_SEED_SHARE * particle_px) ** 2
    return lambda image_yx: label_otsu_watershed(
        image_yx[None],
        voxel_size_um=(1.0, 1.0, 1.0),
        min_distance_um=_SEED_SHARE * particle_px,
        min_volume_um3=area_px2,
    )[0]


def _count_matches(label: Labeller, sections: Sequence[LabelledSection]) -> FloatArray:
    """Count hits, false and missed particles, (S, IoU, 3)."""
    found = [matching(s.labels_yx, label(s.image_yx), thresh=_IOUS) for s in sections]
    return np.array([[(m.tp, m.fp, m.fn) for m in matches] for matches in found], np.float64)


def _mean_precision(counts: FloatArray) -> FloatArray:
    """Return the mean over the IoU of the average precision, of counts (..., IoU, 3)."""
    precision = counts[..., 0] / np.maximum(counts.sum(axis=-1), 1)
    return np.asarray(precision.mean(axis=-1), np.float64)


def _draw_sections(n_sections: int, params: EvaluationParams) -> NDArray[np.int64]:
    """Return how often each section is drawn in each resample, (B, S)."""
    chance = np.full(n_sections, 1.0 / n_sections)
    return np.random.default_rng(params.seed).multinomial(n_sections, chance, params.n_bootstrap)


def _bound_precision(
    counts: FloatArray, params: EvaluationParams | None = None
) -> dict[str, float | None]:
    """Return the interval of the average precision at each IoU, of counts (S, IoU, 3)."""
    params = EvaluationParams() if params is None else params
    drawn = np.tensordot(_draw_sections(len(counts), params), counts, axes=1)
    precision = drawn[..., 0] / np.maximum(drawn.sum(axis=-1), 1)
    bounds: dict[str, float | None] = {}
    for iou, draws in zip(_IOUS, precision.T, strict=True):
        name = f"ap_{round(100 * iou)}"
        bounds[f"{name}_low"], bounds[f"{name}_high"] = bound_draws(draws, len(counts), params)
    return bounds


def _pool(counts: FloatArray) -> dict[str, float]:
    hits, _, missed = counts.T
    precision = hits / np.maximum(counts.sum(axis=1), 1)
    return {
        **{
            f"ap_{round(100 * iou)}": float(value)
            for iou, value in zip(_IOUS, precision, strict=True)
        },
        "recall_50": float(hits[0] / max(hits[0] + missed[0], 1)),
        "n_true": int(hits[0] + missed[0]),
    }
