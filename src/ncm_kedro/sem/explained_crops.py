"""Choice of test crops to explain: confident, random, wrong and uncertain ones of every class."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ncm_kedro.errors import SettingsError
from ncm_kedro.params.sem_explain import CropChoiceParams
from ncm_kedro.sem.split_areas import class_generator

CHOSEN, CONFIDENT, RANDOM = "chosen", "confident", "random"
MISCLASSIFIED, UNCERTAIN = "misclassified", "uncertain"
KINDS = (CHOSEN, CONFIDENT, RANDOM, MISCLASSIFIED, UNCERTAIN)
IDENTITY = ["crop_id", "frame_id", "area", "class", "predicted", "probability"]

_PURPOSE = "explain"


def choose_crops(predictions: pd.DataFrame, params: CropChoiceParams) -> pd.DataFrame:
    """Choose crops and the classes that are explained in them.

    Parameters
    ----------
    predictions
        A row per test crop, with a column ``p_<class>`` per class.
    params
        How many of each kind per true class, and the seed.

    Returns
    -------
    DataFrame
        A row per crop, kind and explained class: `kind`, `IDENTITY`, `runner_up`, `margin` (between
        the two leading classes), `target`, `target_rank` and `p_target`. The predicted class is
        explained; for an error the second class too (rank 2). A crop may be there in two kinds.

    Raises
    ------
    SettingsError
        A crop asked for by name is not among the test crops.
    """
    table = _rank_classes(predictions.sort_values("crop_id", ignore_index=True))
    missing = sorted(set(params.crop_ids) - set(table["crop_id"]))
    if missing:
        raise SettingsError(
            "sem_explain.choice.crop_ids",
            found=f"{missing[0]}, which is no test crop",
            expected="values of crop_id in sem_test_predictions",
            action="correct the name, or leave it out",
        )
    parts = [table[table["crop_id"].isin(params.crop_ids)].assign(kind=CHOSEN)]
    for name, rows in table.groupby("class", sort=True):
        parts += _choose_of_class(rows, str(name), params)
    chosen = pd.concat(parts, ignore_index=True)
    first = chosen.assign(target=chosen["predicted"], target_rank=1, p_target=chosen["probability"])
    wrong = chosen[chosen["kind"] == MISCLASSIFIED]
    second = wrong.assign(
        target=wrong["runner_up"], target_rank=2, p_target=wrong["probability"] - wrong["margin"]
    )
    result = pd.concat([first, second], ignore_index=True)
    result["kind"] = pd.Categorical(result["kind"], KINDS)
    result = result.sort_values(["kind", "class", "target_rank"], kind="stable", ignore_index=True)
    named = ["kind", *IDENTITY, "runner_up", "margin", "target", "target_rank", "p_target"]
    return result.assign(kind=result["kind"].astype(str))[named]


def _rank_classes(predictions: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in predictions.columns if name.startswith("p_")]
    probabilities = predictions[names].to_numpy(np.float64)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    leading = np.take_along_axis(probabilities, order, axis=1)
    return predictions[IDENTITY].assign(
        runner_up=[names[second].removeprefix("p_") for second in order[:, 1]],
        margin=leading[:, 0] - leading[:, 1],
    )


def _choose_of_class(rows: pd.DataFrame, name: str, params: CropChoiceParams) -> list[pd.DataFrame]:
    by_probability = rows.sort_values("probability", ascending=False, kind="stable")
    is_right = by_probability["class"] == by_probability["predicted"]
    return [
        by_probability[is_right].head(params.confident).assign(kind=CONFIDENT),
        _draw_over_areas(rows, name, params).assign(kind=RANDOM),
        by_probability[~is_right].head(params.misclassified).assign(kind=MISCLASSIFIED),
        rows.sort_values("margin", kind="stable").head(params.uncertain).assign(kind=UNCERTAIN),
    ]


def _draw_over_areas(rows: pd.DataFrame, name: str, params: CropChoiceParams) -> pd.DataFrame:
    """Draw one crop of each area, then a second of each, until there are enough."""
    rng = class_generator(params.seed, name, _PURPOSE)
    shuffled = rows.iloc[rng.permutation(len(rows))]
    turn = shuffled.groupby("area", sort=False).cumcount()
    return shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")].head(params.random)
