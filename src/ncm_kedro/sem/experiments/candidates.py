"""Candidates for the classifier, compared by nested cross-validation over regions.

Every class' imaged area in the training and validation splits is cut into as many blocks as there
are folds. Each fold is predicted by models that were fitted on the others, without the crops that
overlap it; what a model has to choose (shrinkage, regularisation) is chosen on the fold after it,
so that no score comes from crops that anything was chosen on (Varma & Simon 2006,
doi:10.1186/1471-2105-7-91). A network that is trained on each fold takes its epoch from that fold
after it, too. The test split plays no part.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.learning.data.crop_index import SearchData
from ncm_kedro.learning.data.loader import CropLoader, choose_device, measure_statistics
from ncm_kedro.learning.evaluation.metrics import score_with_intervals, sum_over_groups
from ncm_kedro.learning.evaluation.ood import CropOutputs
from ncm_kedro.learning.models.predict import (
    INFERENCE_BATCH,
    build_network,
    predict_crops,
    predict_outputs,
)
from ncm_kedro.learning.models.texture import fit_texture_baseline
from ncm_kedro.learning.training.discriminant import fit_discriminant
from ncm_kedro.learning.training.fitting import build_network_for, train_classifier
from ncm_kedro.params.tune_train import EvaluationParams, TrainParams
from ncm_kedro.sem.crops.crop_set import CropSet, CropTextures, index_crops
from ncm_kedro.sem.crops.crops import crop_boxes
from ncm_kedro.sem.inference.evaluation import describe_classifier

TEXTURE, FROZEN, STACKED, TRAINED = "texture", "frozen", "stacked", "trained"
N_FOLDS = 4
_FAMILIES = {TEXTURE: ("texture",), FROZEN: ("network",), STACKED: ("network", "texture")}
_LOG = logging.getLogger(__name__)
_CELL = re.compile(r"x(\d+)y(\d+)$")
_SPLITS = ("train", "validate")


@dataclass(frozen=True)
class Fold:
    """Rows of one fold, (N,) each: what is predicted, chosen on and fitted on; disjoint regions."""

    test: NDArray[np.bool_]
    validate: NDArray[np.bool_]
    train: NDArray[np.bool_]

    @property
    def parts(self) -> tuple[NDArray[np.bool_], ...]:
        """All three."""
        return self.test, self.validate, self.train


@dataclass(frozen=True)
class CandidateCrops:
    """Crops of training and validation, and what the candidates read of them.

    Attributes
    ----------
    table
        A row per crop: `class`, `cell`, `area`, `mosaic` and its place.
    labels
        (N,) class numbers.
    features
        (N, D) by family: `network` (pooled or averaged features), `texture`.
    seconds
        CPU time that measuring each family took, s.
    """

    table: pd.DataFrame
    labels: NDArray[np.int64]
    features: Mapping[str, NDArray[np.float32]]
    seconds: Mapping[str, float]


def measure_candidates(
    crop_set: CropSet, textures: CropTextures, train: TrainParams
) -> CandidateCrops:
    """Join network features of both splits, as they are before training, to their textures."""
    by_data_set = train.normalise.method == "data_set"
    statistics = (
        measure_statistics(crop_set.bank, crop_set.indices["train"]) if by_data_set else None
    )
    network = build_network_for(train, len(crop_set.classes))
    started, outputs = process_time(), []
    for split in _SPLITS:
        loader = CropLoader(
            crop_set.bank,
            crop_set.indices[split],
            batch_size=INFERENCE_BATCH,
            input_px=train.input_px,
            normalise=train.normalise,
            statistics=statistics,
            device=choose_device(train.device),
            threads=train.loader_threads,
        )
        outputs.append(
            predict_outputs(network, loader, device=train.device, precision=train.precision)
        )
    seconds = process_time() - started
    return CandidateCrops(
        table=pd.concat([crop_set.tables[split] for split in _SPLITS], ignore_index=True),
        labels=np.concatenate([part.labels for part in outputs]),
        features={
            "network": np.concatenate([part.features for part in outputs]),
            "texture": np.concatenate([textures.features[split] for split in _SPLITS]),
        },
        seconds={"network": seconds, "texture": textures.seconds},
    )


def assign_blocks(table: pd.DataFrame) -> NDArray[np.int64]:
    """Cut each class' area into blocks of neighbouring cells, of about as many crops each; (N,)."""
    block = np.zeros(len(table), np.int64)
    for places in table.groupby("class", sort=True).indices.values():
        cells = table["cell"].to_numpy(str)[places]
        counts = pd.Series(cells).value_counts()
        order = sorted(counts.index, key=_locate_cell)
        before = np.concatenate([[0], np.cumsum(counts[order].to_numpy())[:-1]])
        of_cell = dict(zip(order, before * N_FOLDS // len(cells), strict=True))
        block[places] = [of_cell[cell] for cell in cells]
    return block


def _locate_cell(cell: str) -> tuple[str, int, int]:
    """Sort cells by mosaic and strip, then by place."""
    found = _CELL.search(cell)
    stem = cell.rsplit("/", 1)[0]
    return (stem, int(found[1]), int(found[2])) if found else (stem, 0, 0)


def iterate_folds(
    block: NDArray[np.int64], boxes: NDArray[np.float64], mosaics: NDArray[np.str_]
) -> Iterator[Fold]:
    """Yield the folds; a crop that overlaps what it must not have seen is in none of its parts.

    Parameters
    ----------
    block
        (N,) block of each crop.
    boxes, mosaics
        (N, 4) place of each crop, x0, y0, x1, y1 (px), in its mosaic, (N,).
    """
    for number in range(N_FOLDS):
        test, chosen_on = block == number, block == (number + 1) % N_FOLDS
        validate = chosen_on & ~_touch(test, boxes, mosaics)
        rest = ~(test | chosen_on)
        yield Fold(test, validate, rest & ~_touch(test | validate, boxes, mosaics))


def _touch(
    others: NDArray[np.bool_], boxes: NDArray[np.float64], mosaics: NDArray[np.str_]
) -> NDArray[np.bool_]:
    """Whether each box overlaps one of `others`, (N,)."""
    found = np.zeros(len(boxes), np.bool_)
    for mosaic in np.unique(mosaics):
        here = np.flatnonzero(mosaics == mosaic)
        near = boxes[here[others[here]]]
        mine = boxes[here][:, None]
        overlap = (mine[..., :2] < near[None, :, 2:]) & (mine[..., 2:] > near[None, :, :2])
        found[here] = np.any(np.all(overlap, axis=2), axis=1)
    return found


def compare_candidates(
    crop_set: CropSet,
    textures: CropTextures,
    manifest: pd.DataFrame,
    train: TrainParams,
    params: EvaluationParams,
    *,
    folder: Path,
) -> dict[str, Any]:
    """Score every candidate on crops of regions that it was not fitted on.

    Parameters
    ----------
    folder
        Checkpoints of the trained candidate, where there is one; an interrupted training resumes.

    Returns
    -------
    dict
        Ready for JSON. `rows`, the best candidate first: `candidate`, `features` (their number);
        balanced accuracy of class, composition and state with intervals over areas (`class`,
        `class_low`, `class_high`, ...); `frame`, that of frames from the mean probabilities of
        their crops; `seconds` of CPU time. `note`: why there are no rows; none where there are.
    """
    table = pd.concat([crop_set.tables[split] for split in _SPLITS], ignore_index=True)
    folds = list(
        iterate_folds(
            assign_blocks(table), crop_boxes(table, manifest), table["mosaic"].to_numpy(str)
        )
    )
    labels = np.concatenate([crop_set.indices[split].label for split in _SPLITS])
    lacking = [
        name
        for number, name in enumerate(crop_set.classes)
        if not all((rows & (labels == number)).any() for fold in folds for rows in fold.parts)
    ]
    if lacking:
        note = (
            f"candidates are not compared: the region of {', '.join(lacking)} for training and "
            f"validation is too small to be cut into {N_FOLDS} blocks; add frames of it"
        )
        _LOG.warning(note)
        return {"rows": [], "note": note}
    crops = measure_candidates(crop_set, textures, train)
    rows = [_score_candidate(name, crop_set, crops, folds, params) for name in _FAMILIES]
    if params.trained_candidate and train.epochs:
        rows.append(_score_trained(crop_set, crops, folds, train, params, folder=folder))
    elif params.trained_candidate:
        _LOG.warning("no trained candidate: with epochs 0 it is the frozen one; raise train.epochs")
    return {"rows": sorted(rows, key=lambda row: -row["class"]), "note": None}


def _score_candidate(
    name: str,
    crop_set: CropSet,
    crops: CandidateCrops,
    folds: Sequence[Fold],
    params: EvaluationParams,
) -> dict[str, Any]:
    parts = _FAMILIES[name]
    features = np.concatenate([crops.features[part] for part in parts], axis=1)
    started = process_time()
    probabilities = np.zeros((len(features), len(crop_set.classes)))
    for fold in folds:
        probabilities[fold.test] = _fit_fold(name, features, crops.labels, fold, params.seed)
    seconds = process_time() - started + sum(crops.seconds[part] for part in parts)
    scores = _score(crop_set, crops, probabilities, params)
    return {"candidate": name, "features": features.shape[1], **scores, "seconds": seconds}


def _score_trained(
    crop_set: CropSet,
    crops: CandidateCrops,
    folds: Sequence[Fold],
    train: TrainParams,
    params: EvaluationParams,
    *,
    folder: Path,
) -> dict[str, Any]:
    """Train the network on each fold, and score it as the other candidates."""
    index = index_crops(crops.table, crop_set.bank, crop_set.classes)
    settings = describe_classifier(crop_set, train, params)
    started, probabilities = process_time(), np.zeros((len(index), len(crop_set.classes)))
    for number, fold in enumerate(folds):
        test, validate, shown = (index.select(rows) for rows in fold.parts)
        data = SearchData(crop_set.bank, shown, validate)
        classifier, _ = train_classifier(data, settings, train, folder / f"fold_{number}")
        network = build_network(classifier)
        found = predict_crops(classifier, network, crop_set.bank, test, device=train.device)
        probabilities[fold.test] = found.probabilities
    scores = _score(crop_set, crops, probabilities, params)
    width = crops.features["network"].shape[1]
    return {"candidate": TRAINED, "features": width, **scores, "seconds": process_time() - started}


def _fit_fold(
    name: str,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    fold: Fold,
    seed: int,
) -> NDArray[np.float64]:
    if name == TEXTURE:
        model = fit_texture_baseline(
            features[fold.train],
            labels[fold.train],
            seed,
            validation=(features[fold.validate], labels[fold.validate]),
        )
        return np.asarray(model.predict_proba(features[fold.test]), np.float64)
    train, validate = (_gather(features, labels, rows) for rows in (fold.train, fold.validate))
    logits = fit_discriminant(train, validate).predict_logits(features[fold.test])
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float64)


def _gather(
    features: NDArray[np.float32], labels: NDArray[np.int64], rows: NDArray[np.bool_]
) -> CropOutputs:
    nothing = np.zeros((int(rows.sum()), int(labels.max()) + 1), np.float32)
    return CropOutputs(nothing, labels[rows], nothing[:, 0], features[rows])


def _score(
    crop_set: CropSet,
    crops: CandidateCrops,
    probabilities: NDArray[np.float64],
    params: EvaluationParams,
) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    roles = {"class": crop_set.classes} | {
        "composition": crop_set.compositions,
        "state": crop_set.states,
    }
    for role, groups in roles.items():
        marginal, names = sum_over_groups(probabilities, groups)
        truth = np.searchsorted(names, groups)[crops.labels]
        found = score_with_intervals(
            truth,
            marginal.argmax(axis=1),
            crops.table["area"].tolist(),
            len(names),
            params,
        )["balanced_accuracy"]
        scores |= {role: found["value"], f"{role}_low": found["low"], f"{role}_high": found["high"]}
    frames = pd.DataFrame(probabilities).groupby(crops.table["frame_id"].to_numpy())
    predicted = frames.mean().to_numpy().argmax(axis=1)
    truth = pd.Series(crops.labels).groupby(crops.table["frame_id"].to_numpy()).first().to_numpy()
    recall = [(predicted[truth == label] == label).mean() for label in np.unique(truth)]
    return scores | {"frame": float(np.mean(recall))}
