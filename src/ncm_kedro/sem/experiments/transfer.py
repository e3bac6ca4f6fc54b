"""Transfer to a state, composition or session that training never showed.

A composition that is recognised in a state that training never showed, or a state in a composition
that it never showed, is the nearest that a set without replicate electrodes comes to a new one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ncm_kedro.errors import SettingsError
from ncm_kedro.learning.evaluation.metrics import score_with_intervals
from ncm_kedro.learning.training.fitting import identify_training
from ncm_kedro.params.sem_studies import TEXTURE, HoldOutKind, SemTransferParams, TransferModel
from ncm_kedro.sem.crops.crop_set import CropSet
from ncm_kedro.sem.experiments.fits import FitTask, StudyFit, cache_textures
from ncm_kedro.sem.experiments.hold_outs import (
    HoldOut,
    TransferCrops,
    plan_hold_outs,
    plan_in_session,
)

_LOG = logging.getLogger(__name__)
_VERSION = 1  # raise it when the same crops and settings would give another result
_EMPTY = {"value": None, "low": None, "high": None}
_NUMBERS = ("balanced_accuracy", "low", "high", "in_session", "in_session_low", "in_session_high")
_CAVEATS = (
    "Every crop of what is held out is a test; the score beside is that of the test split of the "
    "same classes where training saw them (disjoint regions of the same electrodes and sessions).",
    "Intervals resample areas (none below 8): they do not cover another electrode.",
    "Class and session nearly coincide in the public frames, so that a held-out state or "
    "composition is also a held-out session.",
)


@dataclass(frozen=True)
class TransferContext:
    """All that trainings need, and the folder of cached results.

    Attributes
    ----------
    crop_set, crops
        Frames and crops.
    params
        Settings.
    folder
        Where results and unfinished trainings lie.
    """

    crop_set: CropSet
    crops: TransferCrops
    params: SemTransferParams
    folder: Path

    def predict(self, hold_out: HoldOut, model: TransferModel) -> NDArray[np.int64]:
        """Train on what is not held out and predict the rest, or read the cached result.

        Raises
        ------
        StoreError
            A result cannot be written.
        """
        train, validate, test = (
            self.crops.index.select(rows, hold_out.labels[rows])
            for rows in (hold_out.train, hold_out.validate, hold_out.test)
        )
        path = self.folder / f"{self._name_result(hold_out, model)}.json"
        task = FitTask(path, self.crop_set, (train, validate, test), (hold_out.names,) * 3)

        def fit() -> StudyFit:
            if model != TEXTURE:
                return task.fit_network(self.params.train)
            features = self._measure_textures()
            parts = (features[hold_out.train], features[hold_out.validate], features[hold_out.test])
            return task.fit_texture(parts, self.params.seed)

        return task.run(fit, held_out=hold_out.held_out, head=hold_out.head, model=model).predicted

    def _name_result(self, hold_out: HoldOut, model: TransferModel) -> str:
        params = self.params
        settings = {"seed": params.seed} if model == TEXTURE else identify_training(params.train)
        about = [_VERSION, model, hold_out.head, hold_out.names, settings]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        digest.update(self._data_key)
        for array in (hold_out.labels, hold_out.train, hold_out.validate, hold_out.test):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:24]

    @property
    def _data_key(self) -> bytes:
        data = (self.crop_set.split_hash, self.crop_set.bank.checksum, self.crops.index.checksum)
        return ":".join(map(str, data)).encode()

    def _measure_textures(self) -> NDArray[np.float32]:
        """Measure the texture of all crops once, (N, F); cached."""
        key = hashlib.sha256(f"{_VERSION}".encode() + self._data_key).hexdigest()[:24]
        return cache_textures(self.crop_set, self.folder / f"textures_{key}.npy")


def run_hold_outs(work: TransferContext, kind: HoldOutKind) -> dict[str, Any]:
    """Train with each group of one kind held out, in turn, and score on that.

    Where the settings do not name the kind, nothing is.

    Returns
    -------
    dict
        Ready for JSON: `rows`, one per hold-out and model (see `report_transfer`), and `skipped`.
    """
    kinds = (kind,) if kind in work.params.kinds else ()
    hold_outs, skipped = plan_hold_outs(work.crops, kinds)
    for missing in skipped:
        _LOG.warning("%s is not held out: %s", missing.held_out, missing.reason)
    rows = [
        _score_hold_out(work, hold_out, model)
        for hold_out in tqdm(hold_outs, f"hold-outs: {kind}", disable=None)
        for model in work.params.models
    ]
    return {"rows": rows, "skipped": [asdict(missing) for missing in skipped]}


def report_transfer(
    parts: Sequence[Mapping[str, Any]], params: SemTransferParams, *, leaking: bool
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Join the hold-outs of all kinds.

    Parameters
    ----------
    parts
        Results of `run_hold_outs`.
    params
        Settings.
    leaking
        Whether test and training split share regions, so that the score beside is too high.

    Returns
    -------
    table
        A row per hold-out and model: `kind`, `held_out`, `head` (the predicted target), `answers`
        (its values in training), `model`, `balanced_accuracy`, `low`, `high`, `in_session`,
        `in_session_low`, `in_session_high`, `chance`, `above_chance`, `n_train_crops`,
        `n_test_crops`, `n_test_areas`.
    report
        The same ready for JSON, with `summary`, `skipped` and `notes`.

    Raises
    ------
    SettingsError
        Nothing could be held out.
    """
    rows, skipped = ([item for part in parts for item in part[key]] for key in ("rows", "skipped"))
    if not rows:
        raise SettingsError(
            "sem_transfer",
            found="; ".join(f"{missing['held_out']}: {missing['reason']}" for missing in skipped),
            expected="at least two compositions in two states each, or several sessions of a class",
            action="add frames of other compositions, states or sessions",
        )
    numbers = dict.fromkeys(_NUMBERS, "float64")  # all null where nothing has an interval
    table = pd.DataFrame(rows).astype(numbers | {"above_chance": "boolean"})
    return table, _report(table, params, leaking) | {"skipped": skipped}


def list_transfer_metrics(report: dict[str, Any]) -> dict[str, Any]:
    """Scores for the tracking server."""
    metrics = {}
    for row in report["rows"]:
        name = f"{row['kind']}.{row['held_out'].replace(' ', '_')}.{row['model']}"
        for key in ("balanced_accuracy", "low", "high", "in_session"):
            if row[key] is not None:
                metrics[f"{name}.{key}"] = {"value": row[key], "step": 0}
    return metrics


def _score_hold_out(
    work: TransferContext, hold_out: HoldOut, model: TransferModel
) -> dict[str, Any]:
    """Score a hold-out, and beside it the test split of the same crops where training saw them."""
    score = _score(work, hold_out, hold_out.test, work.predict(hold_out, model))
    beside = plan_in_session(work.crops, hold_out.head)
    answers = work.predict(beside, model)[hold_out.test[beside.test]]
    in_session = _score(work, beside, beside.test & hold_out.test, answers)
    chance = 1.0 / len(hold_out.names)
    tested = work.crops.table[hold_out.test]
    return {
        "kind": hold_out.kind,
        "held_out": hold_out.held_out,
        "head": hold_out.head,
        "answers": ", ".join(hold_out.names),
        "model": model,
        "balanced_accuracy": score["value"],
        "low": score["low"],
        "high": score["high"],
        "in_session": in_session["value"],
        "in_session_low": in_session["low"],
        "in_session_high": in_session["high"],
        "chance": chance,
        "above_chance": None if score["low"] is None else score["low"] > chance,
        "n_train_crops": int(hold_out.train.sum()),
        "n_test_crops": len(tested),
        "n_test_areas": int(tested["area"].nunique()),
    }


def _score(
    work: TransferContext,
    hold_out: HoldOut,
    rows: NDArray[np.bool_],
    predicted: NDArray[np.int64],
) -> dict[str, float | None]:
    """Balanced accuracy with its interval; nothing where there is no crop."""
    if not rows.any():
        return dict(_EMPTY)
    table = work.crops.table[rows]
    scores = score_with_intervals(
        hold_out.labels[rows],
        predicted,
        table["area"].tolist(),
        len(hold_out.names),
        work.params.resampling,
    )
    return dict(scores["balanced_accuracy"])


def _report(table: pd.DataFrame, params: SemTransferParams, leaking: bool) -> dict[str, Any]:
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    summary = [
        {
            "kind": str(kind),
            "head": str(part["head"].iloc[0]),
            "model": str(model),
            "hold_outs": len(part),
            "above_chance": int(part["above_chance"].sum()),
            "balanced_accuracy": float(part["balanced_accuracy"].mean()),
            "in_session": _mean_or_none(part["in_session"]),
            "chance": float(part["chance"].mean()),
        }
        for (kind, model), part in table.groupby(["kind", "model"], sort=False)
    ]
    notes = list(_CAVEATS)
    if leaking:
        notes.insert(0, "The crop table is split by frame: the score beside is too high.")
    return {
        "confidence": params.confidence,
        "models": list(params.models),
        "leaking": leaking,
        "summary": summary,
        "rows": rows,
        "notes": notes,
    }


def _mean_or_none(values: pd.Series) -> float | None:
    numbers = values.dropna()
    return float(numbers.mean()) if len(numbers) else None
