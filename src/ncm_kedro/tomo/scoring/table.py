"""Scores of several methods on the samples whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import StoreError
from ncm_kedro.params.tomo_segment import TomoScoringParams
from ncm_kedro.tomo.scoring.baselines import split_name
from ncm_kedro.tomo.scoring.score import LabelScores, score_labels
from ncm_kedro.tomo.volumes.volume import Volume

DEFAULT_METHOD = "default"
SCORE_COLUMNS = ("sample", "method", *LabelScores.__dataclass_fields__)

Labels = NDArray[np.integer]


def score_samples(
    samples: Sequence[str],
    labels: Mapping[str, Volume],
    baseline_labels: Mapping[str, Volume],
    truth: Mapping[str, Labels],
    scoring: TomoScoringParams,
) -> pd.DataFrame:
    """Score every method on every sample with a known truth.

    Parameters
    ----------
    samples
        Samples of this run.
    labels
        What the default method found.
    baseline_labels
        What others found, named by `name_method`.
    truth
        Known labels (Z, Y, X), where there are any.
    scoring
        Largest volume, and smallest particle that counts.

    Returns
    -------
    pandas.DataFrame
        A row per sample and method; no row where nothing is known.

    Raises
    ------
    StoreError
        If known labels have another shape than the tomogram.
    """
    rows = []
    for sample in samples:
        if sample not in truth or int(np.prod(labels[sample].shape_zyx)) > scoring.max_voxels:
            continue
        known = truth[sample]
        check_shape(sample, known, labels[sample])
        for method, found in select_methods(sample, labels, baseline_labels).items():
            scores = score_labels(
                known,
                found.array,
                voxel_size_um=found.voxel_size_um,
                ignored_true=find_small(known, found, scoring.min_volume_um3),
            )
            rows.append({"sample": sample, "method": method, **scores.to_row()})
    numbers = dict.fromkeys(LabelScores.__dataclass_fields__, "float64")
    whole = dict.fromkeys(("n_true", "n_predicted", "splits", "merges"), "int64")
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).astype(
        {"sample": "str", "method": "str", **numbers, **whole}
    )


def select_methods(
    sample: str, labels: Mapping[str, Volume], baseline_labels: Mapping[str, Volume]
) -> dict[str, Volume]:
    """Collect what every method found in a sample, the default method first.

    Parameters
    ----------
    sample
        Name.
    labels, baseline_labels
        As for `score_samples`.
    """
    others = {
        method: volume
        for (owner, method), volume in (
            (split_name(name), volume) for name, volume in baseline_labels.items()
        )
        if owner == sample
    }
    return {DEFAULT_METHOD: labels[sample], **others}


def find_small(known_zyx: Labels, found: Volume, min_volume_um3: float) -> list[int]:
    """List known particles that are too small to count, or that the volume cuts down to that.

    Parameters
    ----------
    known_zyx
        Known labels (Z, Y, X).
    found
        Gives the voxel size.
    min_volume_um3
        Least volume that counts.
    """
    voxel_um3 = float(np.prod(found.voxel_size_um))
    numbers, voxels = np.unique(known_zyx, return_counts=True)
    small = (voxels * voxel_um3 < min_volume_um3) & (numbers > 0)
    return [int(number) for number in numbers[small]]


def check_shape(sample: str, known_zyx: Labels, volume: Volume) -> None:
    """Check that known labels are those of the volume.

    Raises
    ------
    StoreError
        If they have another shape.
    """
    if tuple(known_zyx.shape) != volume.shape_zyx:
        raise StoreError(
            f"known labels of {sample}",
            found=f"{known_zyx.shape} voxels",
            expected=f"those of the tomogram, {volume.shape_zyx}",
            action="write the labels on the tomogram's own grid, or move them away",
        )
