"""How often 95 % intervals hold the truth, and prediction sets the true class, in simulation.

Crops of an area are right together, more or less: the likeness is the intraclass correlation of
being right. Every class has the same number of areas and 20 crops in each.

    python benchmarks/interval_coverage.py
"""

from __future__ import annotations

import numpy as np

from ncm_kedro.learning.evaluation.conformal import choose_threshold
from ncm_kedro.learning.evaluation.metrics import score_with_intervals
from ncm_kedro.params.tune_train import EvaluationParams

RUNS, CROPS = 500, 20
PARAMS = EvaluationParams(n_bootstrap=200)


def draw_areas(
    rng: np.random.Generator, per_class: int, accuracies: np.ndarray, likeness: float
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels, predictions and areas of the crops of one test."""
    n_classes = len(accuracies)
    label = np.repeat(np.arange(n_classes), per_class)
    scale = (1.0 - likeness) / likeness
    accuracy = accuracies[label]
    recall = rng.beta(accuracy * scale, (1.0 - accuracy) * scale)
    right = rng.random((len(label), CROPS)) < recall[:, None]
    wrong = (label[:, None] + rng.integers(1, n_classes, right.shape)) % n_classes
    predicted = np.where(right, label[:, None], wrong)
    areas = np.repeat(np.arange(len(label)), CROPS).astype(str).tolist()
    return np.repeat(label, CROPS), predicted.ravel(), areas


def measure_intervals(
    per_class: int, n_classes: int, accuracy: float, likeness: float
) -> tuple[float, float]:
    """Fraction of tests whose interval holds the true balanced accuracy, and its mean width."""
    rng = np.random.default_rng(0)
    spread = (1.0 - accuracy) * 0.5
    accuracies = accuracy + np.linspace(-spread, spread, n_classes)
    held, width = 0, 0.0
    for _ in range(RUNS):
        drawn = draw_areas(rng, per_class, accuracies, likeness)
        score = score_with_intervals(*drawn, n_classes, PARAMS)["balanced_accuracy"]
        held += score["low"] <= accuracies.mean() <= score["high"]
        width += score["high"] - score["low"]
    return held / RUNS, width / RUNS


def measure_sets(n_areas: int, likeness: float) -> tuple[float, float]:
    """Mean and standard deviation of the coverage of 90 % thresholds."""
    rng = np.random.default_rng(1)
    areas = np.repeat(np.arange(n_areas), CROPS).astype(str).tolist()
    new = np.sort(rng.normal(size=100_000))
    covered = []
    for _ in range(RUNS):
        shared = np.sqrt(likeness) * rng.normal(size=(n_areas, 1))
        own = np.sqrt(1.0 - likeness) * rng.normal(size=(n_areas, CROPS))
        threshold = choose_threshold((shared + own).ravel(), areas, 0.1)
        covered.append(np.searchsorted(new, threshold) / len(new))
    return float(np.mean(covered)), float(np.std(covered))


def main() -> None:
    """Measure and print."""
    print(f"95 % intervals of the balanced accuracy, {RUNS} tests each")
    print("areas (classes)  accuracy  likeness  held   mean width")
    for per_class, n_classes in ((2, 4), (1, 12), (10, 4)):
        for accuracy in (0.75, 0.9, 0.97):
            for likeness in (0.05, 0.2, 0.5, 0.9):
                held, width = measure_intervals(per_class, n_classes, accuracy, likeness)
                print(f"{per_class * n_classes:5d} ({n_classes:2d})  {accuracy:12.2f}  "
                      f"{likeness:8.2f}  {held:.3f}  {width:.3f}", flush=True)  # fmt: skip
    print(f"coverage of 90 % sets, {RUNS} calibrations each")
    print("areas  likeness  mean   standard deviation")
    for n_areas in (9, 12, 19, 40):
        for likeness in (0.0, 0.2, 0.5, 0.9):
            mean, spread = measure_sets(n_areas, likeness)
            print(f"{n_areas:5d}  {likeness:8.2f}  {mean:.3f}  {spread:.3f}", flush=True)


if __name__ == "__main__":
    main()
