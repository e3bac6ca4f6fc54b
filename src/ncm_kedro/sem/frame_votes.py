"""What the tiles of a frame say together: its set of classes, and whether it is unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.learning.classifier import CropAnswers, SemClassifier
from ncm_kedro.learning.conformal import name_sets

SAFEGUARD_COLUMNS = (
    "prediction_set", "set_size", "unknown", "unknown_p", "energy", "feature_distance",
)  # fmt: skip
_MAJORITY = 0.5


def vote_set(members: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Classes that are in the sets of at least half of the tiles, and the most probable one.

    If a tile's set misses the true class with probability a, this one does with at most 2 a
    (Gasparin & Ramdas 2024, Merging uncertainty sets via majority vote, arXiv:2401.09379,
    Theorem 2.1).

    Parameters
    ----------
    members
        (T, K) whether a class is in a tile's set.
    probabilities
        (K,) of the frame.
    """
    chosen = members.mean(axis=0) >= _MAJORITY
    chosen[int(np.asarray(probabilities).argmax())] = True
    return np.asarray(chosen)


def find_frame_p(tile_p: NDArray[np.floating]) -> float:
    """Smallest level at which at least half of the tiles, (T,) p-values, are flagged."""
    return float(np.sort(tile_p)[-(-len(tile_p) // 2) - 1])


def describe_safeguards(
    classifier: SemClassifier, probabilities: NDArray[np.floating], tiles: CropAnswers
) -> dict[str, Any]:
    """Return `SAFEGUARD_COLUMNS` of a frame; null what the classifier cannot tell.

    Parameters
    ----------
    classifier
        The classifier.
    probabilities
        (K,) of the frame.
    tiles
        Answers for its T tiles.
    """
    row: dict[str, Any] = dict.fromkeys(SAFEGUARD_COLUMNS)
    if tiles.sets is not None:
        chosen = vote_set(tiles.sets, probabilities)
        row["prediction_set"] = name_sets(chosen[np.newaxis], classifier.settings.classes)[0]
        row["set_size"] = int(chosen.sum())
    if classifier.detector is not None and tiles.strangeness is not None:
        p = find_frame_p(tiles.strangeness.p)
        row["unknown"] = bool(classifier.detector.flag(np.asarray(p)))
        row["unknown_p"] = p
        row["energy"] = float(np.median(tiles.strangeness.energy))
        row["feature_distance"] = float(np.median(tiles.strangeness.feature_distance))
    return row
