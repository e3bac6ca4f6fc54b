"""The fitted forests as a model that predicts other particles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.damage.explaining import make_rng
from ncm_kedro.damage.forest import Forest, bin_values, grow_forest
from ncm_kedro.damage.grouping import TARGET
from ncm_kedro.damage.preparation import DamageData
from ncm_kedro.damage.tree_shap import explain_forest
from ncm_kedro.errors import ModelError
from ncm_kedro.params.damage_attribution import AttributionParams, DamageForestParams

FloatArray = NDArray[np.float64]

EVERY_SAMPLE = "all"
"""Name of the forest that was grown on the particles of all samples."""

SAMPLE = "sample"
SHAP_PREFIX = "shap_"

_DESCRIPTION = "model.json"
_ARRAYS = "forests.npz"


@dataclass(frozen=True)
class AttributionModel:
    """Forests that predict damage, with what they were grown on.

    Attributes
    ----------
    forests
        By sample, and under `EVERY_SAMPLE` that of all particles.
    inputs
        Input attributes, in this order.
    lowest, highest
        (P,), range of each attribute among the particles that they were grown on.
    preset
        What the attributes were measured with.
    explains
        By forest whether it explains damage out of sample.
    """

    forests: dict[str, Forest]
    inputs: tuple[str, ...]
    lowest: FloatArray
    highest: FloatArray
    preset: str
    explains: dict[str, bool]


def fit_model(
    data: DamageData, scores: pd.DataFrame, forest: DamageForestParams, params: AttributionParams
) -> AttributionModel:
    """Grow a forest on each sample and one on all of them.

    Parameters
    ----------
    scores
        What `significance.tabulate_scores` returned of the samples.
    """
    parts = {EVERY_SAMPLE: data.rows} | dict(list(data.rows.groupby(SAMPLE, sort=False)))
    forests = {}
    for name, rows in parts.items():
        bins = bin_values(rows[list(data.inputs)].to_numpy(dtype=np.float64))
        damage = rows[TARGET].to_numpy(dtype=np.float64)
        rng = make_rng(params.seed, str(name), "model")
        forests[str(name)] = grow_forest(bins, damage, np.arange(len(rows)), forest, rng)
    told = scores[scores["model"] == "forest"].set_index(SAMPLE)["explains"]
    explains = {str(name): bool(said) for name, said in told.items()}
    values = data.rows[list(data.inputs)].to_numpy(dtype=np.float64)
    return AttributionModel(
        forests=forests,
        inputs=data.inputs,
        lowest=values.min(axis=0),
        highest=values.max(axis=0),
        preset=data.preset,
        explains=explains | {EVERY_SAMPLE: all(explains.values())},
    )


def predict_particles(model: AttributionModel, particles: pd.DataFrame) -> pd.DataFrame:
    """Predict the damage of particles, with SHAP values of the attributes.

    Parameters
    ----------
    particles
        The attributes ``model.inputs``; ``sample`` may name the forest, else that of all samples
        is used.

    Returns
    -------
    DataFrame
        A row per particle: ``damage_predicted``; ``base``, the expected prediction;
        ``shap_<attribute>``, which with the base sum to the prediction; ``outside``, attributes
        beyond the range of the training particles; ``problem``, why there is no prediction.

    Raises
    ------
    ModelError
        If an attribute is missing.
    """
    missing = [name for name in model.inputs if name not in particles]
    if missing:
        raise ModelError(
            "nmc-damage-attribution",
            found=f"no column {', '.join(missing)}",
            expected=f"the attributes {', '.join(model.inputs)}, measured with the preset "
            f"{model.preset}",
            action="pass a table of `particle_attributes`",
        )
    values = particles[list(model.inputs)].to_numpy(dtype=np.float64, na_value=np.nan)
    asked = _find_forests(particles)
    columns = [f"{SHAP_PREFIX}{name}" for name in model.inputs]
    answer = pd.DataFrame(np.nan, index=particles.index, columns=["damage_predicted", "base",
                          *columns])  # fmt: skip
    known = np.isfinite(values).all(axis=1)
    players = [[column] for column in range(len(model.inputs))]
    for name, forest in model.forests.items():
        mine = known & (asked == name)
        if mine.any():
            worth, base = explain_forest(forest, values[mine], players)
            answer.loc[mine] = np.column_stack(
                [base + worth.sum(axis=1), np.full(len(worth), base), worth]
            )
    answer["outside"] = _list_names(model, (values < model.lowest) | (values > model.highest))
    lacking = _list_names(model, ~np.isfinite(values))
    answer["problem"] = [_format_problem(model, *row) for row in zip(lacking, asked, strict=True)]
    return answer


def write_model(model: AttributionModel, folder: Path) -> None:
    """Write a model into a folder, as JSON and arrays.

    Parameters
    ----------
    folder
        Is made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "inputs": list(model.inputs), "lowest": model.lowest.tolist(),
        "highest": model.highest.tolist(), "preset": model.preset, "explains": model.explains,
        "forests": list(model.forests),
    }  # fmt: skip
    (folder / _DESCRIPTION).write_text(json.dumps(told, indent=2), encoding="utf-8")
    arrays: dict[str, Any] = {
        f"{number}.{name}": array
        for number, forest in enumerate(model.forests.values())
        for name, array in forest.to_arrays().items()
    }
    np.savez_compressed(folder / _ARRAYS, **arrays)


def read_model(folder: Path) -> AttributionModel:
    """Read what `write_model` wrote.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    try:
        told = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        with np.load(folder / _ARRAYS) as arrays:
            forests = {
                name: _take_forest(arrays, number) for number, name in enumerate(told["forests"])
            }
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            folder,
            found=f"no attribution model that can be read ({error})",
            expected=f"{_DESCRIPTION} and {_ARRAYS}",
            action="run `kedro run --pipelines damage_attribution`, which makes them",
        ) from error
    return AttributionModel(
        forests, tuple(told["inputs"]), np.array(told["lowest"]), np.array(told["highest"]),
        told["preset"], told["explains"],
    )  # fmt: skip


def _take_forest(arrays: Mapping[str, NDArray[Any]], number: int) -> Forest:
    names = Forest.__dataclass_fields__
    return Forest.from_arrays({name: arrays[f"{number}.{name}"] for name in names})


def _find_forests(particles: pd.DataFrame) -> NDArray[np.object_]:
    if SAMPLE not in particles:
        return np.full(len(particles), EVERY_SAMPLE, dtype=object)
    return particles[SAMPLE].fillna(EVERY_SAMPLE).astype(str).to_numpy(dtype=object)


def _list_names(model: AttributionModel, marked_np: NDArray[np.bool_]) -> list[str]:
    names = np.array(model.inputs, dtype=object)
    return [", ".join(names[row]) for row in marked_np]


def _format_problem(model: AttributionModel, lacking: str, asked: str) -> str:
    if lacking:
        return f"no value of {lacking}"
    if asked not in model.forests:
        return f"no forest of this sample: there are those of {', '.join(model.forests)}"
    return ""
