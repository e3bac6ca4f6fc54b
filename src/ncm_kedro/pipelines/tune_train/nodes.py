"""Stores and tables to arrays, arrays to the learning package, results to tables and figures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ncm_kedro.datasets.frames.store import FrameStore
from ncm_kedro.datasets.models.versions import Release
from ncm_kedro.learning.models.classifier import SemClassifier
from ncm_kedro.params.sem_classify import ClassifyParams
from ncm_kedro.params.tune_train import (
    CalibrationParams,
    DeviceName,
    EvaluationParams,
    SearchParams,
    TrainParams,
)
from ncm_kedro.sem.crops.crop_set import CropSet, CropTextures

if TYPE_CHECKING:
    from ncm_kedro.learning.data.crop_index import SearchData

NETWORK, BASELINE, PRODUCTION = "network", "texture baseline", "production model"


def search_sem_settings(
    *,
    crop_set: CropSet,
    folder: Path,
    train: TrainParams,
    search: SearchParams,
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, Figure]]:
    """Search training settings, or take them as they are where the search is off."""
    from ncm_kedro.learning.training.fitting import choose_start, network_builder
    from ncm_kedro.learning.training.search import search_settings
    from ncm_kedro.pipelines.tune_train.tracking import nest_trials
    from ncm_kedro.plotting.sem.learning import plot_trials

    train = choose_start(train)
    if not search.enabled or not train.epochs:
        nothing = pd.DataFrame({"trial": []})
        return train.model_dump(mode="json"), nothing, {"trials.png": plot_trials([])}
    found = search_settings(
        _data_of(crop_set),
        train,
        search,
        build=network_builder(len(crop_set.classes)),
        root_dir=folder,
        callbacks=nest_trials(),
    )
    figures = {"trials.png": plot_trials(found.trials)}
    return found.best.model_dump(mode="json"), pd.DataFrame(found.trials), figures


def measure_sem_textures(crop_set: CropSet) -> CropTextures:
    """Measure the texture features that the baseline and the candidates share."""
    from ncm_kedro.sem.inference.evaluation import measure_all_textures

    return measure_all_textures(crop_set)


def compare_sem_candidates(
    *,
    crop_set: CropSet,
    textures: CropTextures,
    manifest: pd.DataFrame,
    best_settings: dict[str, Any],
    evaluation: EvaluationParams,
    folder: Path,
) -> dict[str, Any]:
    """Compare texture, network features as they are, and both, on regions inside the training."""
    from ncm_kedro.sem.experiments.candidates import compare_candidates

    train = TrainParams.model_validate(best_settings)
    return compare_candidates(
        crop_set, textures, manifest, train, evaluation, folder=folder / "candidates"
    )


def train_sem_classifier(
    *,
    crop_set: CropSet,
    best_settings: dict[str, Any],
    folder: Path,
    train: TrainParams,
    evaluation: EvaluationParams,
) -> tuple[SemClassifier, pd.DataFrame, dict[str, Any], dict[str, Figure]]:
    """Train with the best settings for the full number of epochs."""
    from ncm_kedro.learning.training.fitting import train_classifier
    from ncm_kedro.pipelines.tune_train.tracking import list_history
    from ncm_kedro.plotting.sem.learning import plot_training_curves
    from ncm_kedro.sem.inference.evaluation import describe_classifier

    found = TrainParams.model_validate(best_settings)
    params = found.model_copy(update={"epochs": min(found.epochs, train.epochs)})
    settings = describe_classifier(crop_set, params, evaluation)
    classifier, result = train_classifier(_data_of(crop_set), settings, params, folder)
    curves = pd.DataFrame([asdict(record) for record in result.history])
    figures = {"learning_curves.png": plot_training_curves(_list_epochs(curves))}
    return classifier, curves, list_history(curves), figures


def calibrate_sem_classifier(
    *,
    crop_set: CropSet,
    classifier: SemClassifier,
    calibration: CalibrationParams,
    device: str,
) -> SemClassifier:
    """Fit temperature, prediction sets and unknown-sample flag on the validation split."""
    from ncm_kedro.learning.evaluation.ood import FrameOutputs
    from ncm_kedro.learning.models.predict import build_network, run_network
    from ncm_kedro.learning.training.fitting import calibrate_classifier
    from ncm_kedro.sem.inference.calibration import index_frame_tiles, plant_foreign

    network, bank = build_network(classifier), crop_set.bank
    settings = classifier.settings
    as_they_are = settings.model_copy(update={"test_time_augmentation": "none"})
    index, frame, frame_mosaics = index_frame_tiles(crop_set)
    train, validate, tiles, foreign = (
        run_network(each, network, frames, crops, device=device)
        for each, frames, crops in (
            (as_they_are, bank, crop_set.indices["train"]),
            (settings, bank, crop_set.indices["validate"]),
            (settings, bank, index),
            (settings, *plant_foreign(crop_set, seed=0)),
        )
    )
    mosaics = crop_set.tables["validate"]["mosaic"].tolist()
    return calibrate_classifier(
        classifier, train, validate, mosaics, calibration,
        frames=FrameOutputs(tiles, frame, frame_mosaics), foreign=foreign,
    )  # fmt: skip


def predict_sem_test(
    crop_set: CropSet,
    classifier: SemClassifier,
    device: str,
) -> pd.DataFrame:
    """Predict the test split, once."""
    from ncm_kedro.learning.models.predict import build_network, predict_crops
    from ncm_kedro.sem.inference.evaluation import describe_crops

    answers = predict_crops(
        classifier,
        build_network(classifier),
        crop_set.bank,
        crop_set.indices["test"],
        device=device,
    )
    return _tabulate(crop_set, answers.probabilities).assign(
        **describe_crops(answers, crop_set.classes)
    )


def classify_ood_material(
    frames: FrameStore, manifest: pd.DataFrame, classifier: SemClassifier, device: DeviceName
) -> pd.DataFrame:
    """Classify the frames excluded as out-of-distribution material."""
    from ncm_kedro.sem.inference.evaluation import classify_ood

    return classify_ood(frames, manifest, classifier, ClassifyParams(device=device))


def predict_sem_baseline(crop_set: CropSet, textures: CropTextures, seed: int) -> pd.DataFrame:
    """Fit the texture baseline on the same crops and predict the same test split."""
    from ncm_kedro.sem.inference.evaluation import predict_by_texture

    return _tabulate(crop_set, predict_by_texture(crop_set, textures, seed))


def evaluate_sem_test(
    *,
    predictions: pd.DataFrame,
    baseline: pd.DataFrame,
    ood: pd.DataFrame,
    crop_report: dict[str, Any],
    candidates: dict[str, Any],
    classifier: SemClassifier,
    evaluation: EvaluationParams,
    calibration: CalibrationParams,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Figure]]:
    """Score network and baseline on the test split; intervals resample areas."""
    from ncm_kedro.pipelines.tune_train.tracking import list_scores, list_uncertainty
    from ncm_kedro.plotting.sem.classify import plot_ood_scores, plot_prediction_sets
    from ncm_kedro.plotting.sem.learning import (
        plot_class_report,
        plot_confusion,
        plot_reliability,
        plot_scores,
    )
    from ncm_kedro.sem.inference.evaluation import score_uncertainty

    tables = {NETWORK: predictions, BASELINE: baseline}
    scores = {
        name: _evaluate(table, classifier, evaluation, calibration.bins)
        for name, table in tables.items()
    }
    report = {
        "split_by": crop_report["split_by"],
        "leaking": crop_report["leaking"],
        "model": classifier.settings.model,
        "temperature": classifier.settings.temperature,
        **scores,
        "candidates": candidates,
        "pooled": _score_pooled(tables, classifier, evaluation),
        **score_uncertainty(predictions, ood, classifier, evaluation),
    }
    network, title = scores[NETWORK], f"{classifier.settings.model}, test split"
    confusion, names = network["class"]["confusion"], network["class"]["names"]
    figures = {
        "confusion.png": plot_confusion(confusion, names, title),
        "reliability.png": plot_reliability(
            network["calibration"], classifier.settings.temperature
        ),
        "classes.png": plot_class_report(network["class"], title),
        "scores.png": plot_scores(scores, 1.0 / len(names)),
        "prediction_sets.png": plot_prediction_sets(report["sets"]),
        "ood.png": plot_ood_scores(report["flag"]),
    }
    calibration_error = scores[NETWORK]["calibration"]["expected_error"]
    metrics = list_scores(scores) | list_uncertainty(report, calibration_error)
    return report, metrics, figures


def decide_sem_promotion(
    *,
    crop_set: CropSet,
    manifest: pd.DataFrame,
    predictions: pd.DataFrame,
    baseline: pd.DataFrame,
    report: dict[str, Any],
    production: SemClassifier | None,
    evaluation: EvaluationParams,
    device: str,
) -> dict[str, Any]:
    """Decide whether the classifier may take over production."""
    from ncm_kedro.learning.evaluation.promotion import compare_predictions, decide_promotion
    from ncm_kedro.sem.inference.evaluation import compare_with_production

    number = {name: place for place, name in enumerate(crop_set.classes)}
    ours, theirs = (
        table["predicted"].map(number).to_numpy(np.int64) for table in (predictions, baseline)
    )
    areas = crop_set.tables["test"]["area"].tolist()
    labels = crop_set.indices["test"].label
    comparisons = [
        compare_predictions(
            (NETWORK, BASELINE), labels, ours, theirs, regions=areas, params=evaluation
        )
    ]
    notes: list[str] = []
    if production is not None:
        found, notes = compare_with_production(
            (NETWORK, PRODUCTION),
            crop_set,
            manifest,
            ours,
            production,
            params=evaluation,
            device=device,
        )
        comparisons += found
    replaces = None if production is None else production.version
    decision = decide_promotion(
        comparisons, replaces=replaces, notes=notes, leaking=report["leaking"]
    )
    return decision.to_dict()


def release_sem_classifier(
    classifier: SemClassifier,
    frames: FrameStore,
    crops: pd.DataFrame,
    report: dict[str, Any],
    promotion: dict[str, Any],
) -> Release[SemClassifier]:
    """Hand the classifier to the registry, with an example frame and its scores."""
    from ncm_kedro.learning.evaluation.promotion import Promotion
    from ncm_kedro.plotting.numbers import write_interval
    from ncm_kedro.sem.inference.classify import encode_png

    seen = crops[crops["split"] != "test"]
    frame_id = str(crops.loc[crops["split"] == "test", "frame_id"].min())
    network = report[NETWORK]["class"]
    return Release(
        model=classifier,
        promotion=Promotion.from_dict(promotion),
        metrics={
            f"test_{name}": network[name]["value"]
            for name in ("accuracy", "balanced_accuracy", "macro_f1")
        },
        tags={
            "split_by": report["split_by"],
            "split_hash": str(classifier.settings.split_hash),
            "timm_model": classifier.settings.model,
        },
        example=pd.DataFrame(
            {
                "image": [encode_png(frames[frame_id])],
                "pixel_size_um": [classifier.settings.pixel_size_um],
            }
        ),
        trained_on=f"{len(seen)} crops of {seen['frame_id'].nunique()} frames in "
        f"{seen['class'].nunique()} classes: {', '.join(sorted(seen['class'].unique()))}",
        scores=tuple(
            f"{name.replace('_', ' ')} on {report[NETWORK]['n_areas']} areas held out: "
            f"{write_interval(network[name], digits=3)}"
            for name in ("balanced_accuracy", "accuracy", "macro_f1")
        ),
    )


def _data_of(crop_set: CropSet) -> SearchData:
    from ncm_kedro.learning.data.crop_index import SearchData

    return SearchData(crop_set.bank, crop_set.indices["train"], crop_set.indices["validate"])


def _tabulate(crop_set: CropSet, probabilities: NDArray[np.float64]) -> pd.DataFrame:
    classes = np.array(crop_set.classes)
    table = crop_set.tables["test"][["crop_id", "frame_id", "area", "class"]].copy()
    table["predicted"] = classes[probabilities.argmax(axis=1)]
    table["probability"] = probabilities.max(axis=1)
    table[[f"p_{name}" for name in classes]] = probabilities
    return table


def _evaluate(
    table: pd.DataFrame, classifier: SemClassifier, params: EvaluationParams, bins: int
) -> dict[str, Any]:
    from ncm_kedro.learning.evaluation.metrics import evaluate_predictions

    settings = classifier.settings
    number = {name: place for place, name in enumerate(settings.classes)}
    return evaluate_predictions(
        table[[f"p_{name}" for name in settings.classes]].to_numpy(),
        table["class"].map(number).to_numpy(np.int64),
        table["area"].tolist(),
        class_names=settings.classes,
        compositions=settings.compositions,
        states=settings.states,
        params=params,
        bins=bins,
    )


def _score_pooled(
    tables: dict[str, pd.DataFrame], classifier: SemClassifier, params: EvaluationParams
) -> list[dict[str, Any]]:
    """Score frames and areas, from the mean probabilities of their test crops."""
    rows = []
    for of, column in (("frames", "frame_id"), ("areas", "area")):
        for who, table in tables.items():
            columns = [f"p_{name}" for name in classifier.settings.classes]
            kept = {**dict.fromkeys(columns, "mean"), "class": "first", "area": "first"}
            pooled = table.groupby(table[column].to_numpy()).agg(kept)
            scores = _evaluate(pooled, classifier, params, bins=2)
            rows += [
                {"of": of, "count": len(pooled), "model": who, "role": role}
                | scores[role]["balanced_accuracy"]
                for role in ("class", "composition", "state")
            ]
    return rows


def _list_epochs(curves: pd.DataFrame) -> list[dict[str, float]]:
    return [{str(k): float(v) for k, v in row.items()} for row in curves.to_dict("records")]
