"""From phantom sections and the user's pairs to a registered detector."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.models.versions import Release
from ncm_kedro.params.tomo_phantoms import TomoSectionParams
from ncm_kedro.params.tomo_train import TomoTrainParams
from ncm_kedro.tomo.detector.detector import Detector

Metrics = dict[str, Any]


def train_particle_detector(
    train: TomoTrainParams, sections: TomoSectionParams, folder: Path
) -> tuple[Path, dict[str, Any], pd.DataFrame, Metrics, dict[str, Figure]]:
    """Train, or go on with a training that was killed."""
    from ncm_kedro.plotting.tomo.scores import plot_detector_curves, plot_detector_examples
    from ncm_kedro.tomo.training.training import train_detector

    result = train_detector(train, sections, folder)
    history = pd.DataFrame(result.history)
    history.insert(0, "epoch", range(1, len(history) + 1))
    record = {
        "best_epoch": result.best_epoch,
        "thresholds": asdict(result.thresholds),
        "parity": asdict(result.parity),
        "images": result.counts,
    }
    metrics = {
        str(name): [
            {"value": float(value), "step": int(epoch)}
            for epoch, value in zip(history["epoch"], history[name], strict=True)
        ]
        for name in history.columns.drop("epoch")
    }
    examples = plot_detector_examples(
        [example.section.image_yx for example in result.examples],
        [example.section.labels_yx for example in result.examples],
        [example.found.labels_yx for example in result.examples],
    )
    figures = {"curves.png": plot_detector_curves(history), "examples.png": examples}
    return result.folder, record, history, metrics, figures


def evaluate_particle_detector(
    *,
    detector: Detector,
    in_use: Detector,
    folder: Path,
    train: TomoTrainParams,
    sections: TomoSectionParams,
) -> tuple[pd.DataFrame, dict[str, Any], Metrics]:
    """Set the detector beside the one in use and the classical way."""
    from ncm_kedro.learning.evaluation.promotion import decide_promotion
    from ncm_kedro.tomo.training.sections import load_held_out
    from ncm_kedro.tomo.training.training import score_detectors

    held_out = load_held_out(train, sections, folder, train.evaluation_images)
    scores, comparisons = score_detectors(detector, in_use, held_out)
    metrics = {
        f"{row['method'].replace(' ', '_')}.{name}": {"value": float(row[name]), "step": 0}
        for row in scores.to_dict("records")
        for name in ("ap_50", "ap_70", "ap_90", "recall_50")
    }
    decision = decide_promotion(comparisons, replaces=in_use.version)
    return scores, decision.to_dict(), metrics


def release_particle_detector(
    *,
    detector: Detector,
    record: dict[str, Any],
    scores: pd.DataFrame,
    promotion: dict[str, Any],
    folder: Path,
    train: TomoTrainParams,
    sections: TomoSectionParams,
) -> Release[Path]:
    """Hand the detector to the registry, with an example section and its scores."""
    from ncm_kedro.learning.evaluation.promotion import Promotion
    from ncm_kedro.plotting.numbers import write_interval
    from ncm_kedro.sem.inference.classify import encode_png
    from ncm_kedro.tomo.training.sections import load_held_out
    from ncm_kedro.tomo.training.training import CANDIDATE

    own = scores[scores["method"] == CANDIDATE].iloc[0].to_dict()
    kinds = {"phantoms": train.phantom_sections, "the user": train.pairs_folder}
    sources = [name for name, used in kinds.items() if used]
    example = load_held_out(train, sections, folder, 1)[0]
    image = encode_png((255 * example.image_yx.clip(0, 1)).astype(np.uint8))
    return Release(
        model=detector.folder,
        promotion=Promotion.from_dict(promotion),
        metrics={name: float(own[name]) for name in ("ap_50", "ap_70", "ap_90", "recall_50")},
        tags={
            "fingerprint": detector.fingerprint,
            "best_epoch": str(record["best_epoch"]),
            "training_images": str(record["images"]["training"]),
        },
        example=pd.DataFrame({"image": [image]}),
        trained_on=f"{record['images']['training']} sections, of {' and of '.join(sources)}",
        scores=tuple(
            f"average precision at an IoU of 0.{level}, {CANDIDATE} on held-out sections: "
            f"{write_interval(own, f'ap_{level}', digits=3)}"
            for level in (50, 70, 90)
        ),
    )
