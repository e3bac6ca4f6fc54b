"""OOD scores compared: planted patterns, quarantined frames, and classes that training lacks.

Features of the frozen `ncm_pooled_lite0` and texture descriptors of the crops of a project; reads
what `sem_ingest` and `crop_augment` wrote. Energies are those of a discriminant that is fitted on
the training crops, for deep features the one of the classifier; sums are of scores standardised on
the validation split; of a high energy what lies below the validation median does not count, as in
the built-in score, `deep: larger knn + deep: knn, discriminants + deep: high energy`. The area
under the ROC curve is against test crops, false alarms are those at the 95th percentile of the
validation crops.

    python benchmarks/unknown_flag.py data --seeds 20

References: k-th neighbour, Sun et al. (2022), arXiv:2204.06507; Mahalanobis distance, Lee et al.
(2018), arXiv:1807.03888; Mahalanobis++, Mueller & Hein (2025), arXiv:2505.18032; residual of ViM,
Wang et al. (2022), arXiv:2203.10807; energy, Liu et al. (2020), arXiv:2010.03759.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from ncm_kedro.datasets.frames.store import FrameStore
from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.data.frame_bank import FrameBank, build_frame_bank
from ncm_kedro.learning.data.loader import CropLoader
from ncm_kedro.learning.evaluation.ood import CropOutputs, find_discriminants, measure_distance
from ncm_kedro.learning.models.networks import build_model
from ncm_kedro.learning.models.texture import texture_features
from ncm_kedro.learning.training import discriminant
from ncm_kedro.sem.crops.crop_set import CropSet, build_crop_set
from ncm_kedro.sem.inference.calibration import plant_foreign
from ncm_kedro.sem.inference.classify import plan_tiles
from ncm_kedro.sem.inference.evaluation import find_ood

SHRINKAGE, NEIGHBOURS, PRINCIPAL = 0.5, 10, 64
PLANTED = 24  # patterns of a seed
Parts = list[np.ndarray]


def measure(bank: FrameBank, crops: CropIndex, network: torch.nn.Module) -> dict[str, np.ndarray]:
    """Features (N, D) of both families."""
    deep = np.zeros((len(crops), network.num_features))
    with torch.inference_mode():
        for batch in CropLoader(bank, crops, batch_size=32, threads=1).iterate_epoch(0):
            deep[batch.index.numpy()] = network.forward_features(batch.images).numpy()
    corners = zip(crops.frame, crops.x_px, crops.y_px, crops.size_px, strict=True)
    texture = [
        texture_features(bank.view_frame(int(f))[None, y : y + s, x : x + s], n_threads=1)
        for f, x, y, s in corners
    ]
    return {"deep": deep, "texture": np.concatenate(texture).astype(np.float64)}


def plant(crop_set: CropSet, seed: int) -> tuple[FrameBank, CropIndex]:
    """Plant patterns, a few of those of a seed."""
    bank, index = plant_foreign(crop_set, seed)
    rows = np.linspace(0, len(index) - 1, PLANTED).astype(int)
    parts = (index.frame, index.x_px, index.y_px, index.size_px, index.label)
    return bank, CropIndex(*(part[rows] for part in parts))


def index_quarantined(store: FrameStore, manifest: pd.DataFrame, size_px: int):
    """Tiles of the frames that were excluded as another material."""
    bank = build_frame_bank(store, find_ood(manifest)["frame_id"].tolist())
    sides = zip(bank.heights, bank.widths, strict=True)
    tiles = [plan_tiles(int(h), int(w), size_px, 0.0) for h, w in sides]
    frame = np.repeat(np.arange(len(tiles)), [len(t) for t in tiles])
    x_px, y_px = np.concatenate(tiles).T
    size = np.full(len(frame), size_px)
    return bank, CropIndex(frame, x_px, y_px, size, np.zeros(len(frame), np.int64))


def normalise(values: np.ndarray) -> np.ndarray:
    """Scale rows to length one."""
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def fit_discriminant(train: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whitening (D, D) within classes and whitened class means (K, D)."""
    means = np.stack([train[labels == label].mean(axis=0) for label in np.unique(labels)])
    place = np.searchsorted(np.unique(labels), labels)
    spreads, axes = np.linalg.eigh(np.cov((train - means[place]).T))
    shrunk = (1.0 - SHRINKAGE) * spreads + SHRINKAGE * spreads.mean()
    whiten = axes / np.sqrt(shrunk)
    return whiten, means @ whiten


def score_family(train: np.ndarray, labels: np.ndarray, parts: Parts) -> dict[str, Parts]:
    """Scores of each part by method; higher is stranger."""
    mean, std = train.mean(axis=0), train.std(axis=0).clip(1e-6)
    standard, others = (train - mean) / std, [(part - mean) / std for part in parts]
    whiten, means = fit_discriminant(standard, labels)
    unit_whiten, unit_means = fit_discriminant(normalise(standard), labels)
    directed = find_discriminants(standard, labels)
    rest = np.linalg.eigh(np.cov(standard.T))[1][:, :-PRINCIPAL]

    def knn(reference: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda part: measure_distance(part, reference, NEIGHBOURS)

    def to_means(place: np.ndarray, centres: np.ndarray) -> np.ndarray:
        gaps = ((place[:, None] - centres[None]) ** 2).sum(axis=-1)
        return np.sqrt(gaps.min(axis=1))

    def energy(part: np.ndarray) -> np.ndarray:
        place = part @ whiten
        return -logsumexp(place @ means.T - 0.5 * (means**2).sum(axis=1), axis=1)

    return {
        "knn": list(map(knn(standard), others)),
        "knn, length one": list(map(knn(normalise(train)), map(normalise, parts))),
        "knn, discriminants": list(
            map(knn(normalise(standard @ directed)), (normalise(p @ directed) for p in others))
        ),
        "Mahalanobis": [to_means(part @ whiten, means) for part in others],
        "Mahalanobis++": [to_means(normalise(p) @ unit_whiten, unit_means) for p in others],
        "ViM residual": [np.linalg.norm(part @ rest, axis=1) for part in others],
        "energy": list(map(energy, others)),
    }


def measure_energies(
    train: np.ndarray, labels: np.ndarray, parts: Parts, validate_labels: np.ndarray
) -> Parts:
    """Energies of the classifier's own discriminant."""

    def hold(features: np.ndarray, truth: np.ndarray) -> CropOutputs:
        empty = np.zeros((len(truth), labels.max() + 1))
        return CropOutputs(empty, truth, empty[:, 0], features)

    found = discriminant.fit_discriminant(hold(train, labels), hold(parts[0], validate_labels))
    shown = np.unique(labels)
    return [-logsumexp(found.predict_logits(part)[:, shown], axis=1) for part in parts]


def score_all(
    train: dict, labels: np.ndarray, parts: list[dict], validate_labels: np.ndarray
) -> dict[str, Parts]:
    """Scores of both families, and sums of them; the first part is the validation split."""
    scores = {
        f"{family}: {name}": values
        for family in ("deep", "texture")
        for name, values in score_family(
            train[family], labels, [part[family] for part in parts]
        ).items()
    }

    energies = [part["deep"] for part in parts]
    scores["deep: energy"] = measure_energies(train["deep"], labels, energies, validate_labels)
    standard = {}
    for name, values in scores.items():
        middle, upper = np.quantile(values[0], [0.5, 0.84])
        standard[name] = [(part - middle) / (upper - middle) for part in values]
    high = "deep: high energy"
    standard[high] = [np.maximum(part, 0.0) for part in standard["deep: energy"]]
    two = zip(standard["deep: knn"], standard["deep: knn, length one"], strict=True)
    standard["deep: larger knn"] = [np.maximum(*pair) for pair in two]
    distances = ("deep: knn", "deep: knn, length one", "deep: larger knn", "deep: ViM residual")
    directed = ("", "deep: knn, discriminants")
    sums = product(distances, directed, ("", "texture: knn"), ("deep: energy", high))
    for names in ([name for name in part if name] for part in sums):
        columns = zip(*(standard[name] for name in names), strict=True)
        scores[" + ".join(names)] = [np.sum(column, axis=0) for column in columns]
    return scores


def measure_auroc(known: np.ndarray, foreign: np.ndarray) -> float:
    """Area under the ROC curve of known (N,) against foreign (M,) scores."""
    truth = np.repeat([0, 1], [len(known), len(foreign)])
    return float(roc_auc_score(truth, np.concatenate([known, foreign])))


def evaluate(scores: dict[str, Parts], frames: Parts) -> pd.DataFrame:
    """AUROC, false alarms and detections of (validation, known, foreign) scores.

    A frame's score is the median of its crops, as that of a classified frame is of its tiles;
    `frames` are those of the known and foreign crops.
    """
    rows = {}
    for name, (validate, known, foreign) in scores.items():
        limit = np.quantile(validate, 0.95)
        medians = [
            pd.Series(part).groupby(frame).median().to_numpy()
            for part, frame in zip((known, foreign), frames, strict=True)
        ]
        rows[name] = {
            "auroc": measure_auroc(known, foreign),
            "auroc_frames": measure_auroc(*medians),
            "false_alarms": (known > limit).mean(),
            "detected": (foreign > limit).mean(),
        }
    return pd.DataFrame(rows).T


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    args = parser.parse_args()
    store = FrameStore(args.data / "02_intermediate" / "sem_frames.zarr")
    manifest = pd.read_parquet(args.data / "03_primary" / "sem_manifest.parquet")
    crops = pd.read_parquet(args.data / "05_model_input" / "sem_crops.parquet")
    crop_set = build_crop_set(store, crops, manifest)
    network = build_model("ncm_pooled_lite0", num_classes=2, pretrained="packaged").eval()
    splits = {
        name: measure(crop_set.bank, index, network) for name, index in crop_set.indices.items()
    }
    labels = {name: index.label for name, index in crop_set.indices.items()}
    frames = crop_set.indices["test"].frame

    def hold_out(classes: list[int]) -> pd.DataFrame:
        left = {name: np.isin(labels[name], classes) for name in splits}

        def pick(name: str, rows: np.ndarray) -> dict[str, np.ndarray]:
            return {family: values[rows] for family, values in splits[name].items()}

        train, validate, test = (pick(name, ~left[name]) for name in splits)
        foreign = pick("test", left["test"])
        shown = {name: labels[name][~left[name]] for name in splits}
        return evaluate(
            score_all(train, shown["train"], [validate, test, foreign], shown["validate"]),
            [frames[~left["test"]], frames[left["test"]]],
        )

    def compare(title: str, foreign: list[tuple[FrameBank, CropIndex]]) -> None:
        known = [splits["validate"], splits["test"]]
        tables = [
            evaluate(
                score_all(
                    splits["train"],
                    labels["train"],
                    [*known, measure(bank, index, network)],
                    labels["validate"],
                ),
                [frames, index.frame],
            )
            for bank, index in foreign
        ]
        show(title, tables)

    if not find_ood(manifest).empty:
        quarantined = index_quarantined(store, manifest, crop_set.crop_px)
        compare("quarantined frames", [quarantined])
    show("one class left out", [hold_out([n]) for n in range(len(crop_set.classes))])
    groups = pd.Series(range(len(crop_set.classes))).groupby(np.array(crop_set.compositions))
    show("one composition left out", [hold_out(list(part)) for _, part in groups])
    planted = [plant(crop_set, seed) for seed in range(args.seeds)]
    compare(f"planted patterns, {args.seeds} seeds", planted)


def show(title: str, tables: list[pd.DataFrame]) -> None:
    """Print the mean, best first, and the range of the AUROC."""
    joined = pd.concat(tables, keys=range(len(tables)))
    mean = joined.groupby(level=1).mean()
    lowest, highest = (joined["auroc"].groupby(level=1).agg(how) for how in ("min", "max"))
    table = mean.assign(lowest=lowest, highest=highest).sort_values("auroc", ascending=False)
    print(f"\n{title}\n{table.round(3).to_string()}", flush=True)


if __name__ == "__main__":
    main()
