"""What is left of a score where training has never seen the state, composition or session."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ncm_kedro.errors import SettingsError
from ncm_kedro.learning.evaluation.metrics import score_with_intervals
from ncm_kedro.params.sem_studies import TransferModel
from ncm_kedro.sem.experiments.transfer import (
    HoldOut,
    SkippedHoldOut,
    TransferContext,
    plan_hold_outs,
    plan_in_session,
)

_LOG = logging.getLogger(__name__)
_EMPTY = {"value": None, "low": None, "high": None}
_CAVEATS = (
    "Every crop of what is held out is a test; the score beside is that of the test split of the "
    "same classes where training saw them (disjoint ground of the same electrodes and sessions).",
    "Intervals resample areas within classes: they say nothing about another electrode.",
    "Class and session nearly coincide in the public frames, so that a held-out state or "
    "composition is also a held-out session.",
)


def run_transfer_study(
    work: TransferContext, *, leaking: bool
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train with something left out, in turn, and score on that.

    Parameters
    ----------
    work
        Crops, settings and the folder of results.
    leaking
        Whether test and training split share ground, so that the score beside is too high.

    Returns
    -------
    table
        A row per hold-out and model: `kind`, `held_out`, `head` (what is asked), `answers` (what
        training shows), `model`, `balanced_accuracy`, `low`, `high`, `in_session`,
        `in_session_low`, `in_session_high`, `chance`, `above_chance`, `n_train_crops`,
        `n_test_crops`, `n_test_areas`.
    report
        The same ready for JSON, with `summary`, `skipped` and `notes`.

    Raises
    ------
    SettingsError
        Nothing can be held out.
    """
    hold_outs, skipped = plan_hold_outs(work.crops, work.params.kinds)
    for missing in skipped:
        _LOG.warning("%s is not held out: %s", missing.held_out, missing.reason)
    if not hold_outs:
        raise SettingsError(
            "sem_transfer",
            found="; ".join(f"{missing.held_out}: {missing.reason}" for missing in skipped),
            expected="at least two compositions in two states each, or several sessions of a class",
            action="add frames of other compositions, states or sessions",
        )
    heads = {hold_out.head for hold_out in hold_outs}
    trainings = (len(hold_outs) + len(heads)) * len(work.params.models)
    _LOG.info("%d trainings at most; finished ones are kept", trainings)
    rows = [
        _score_hold_out(work, hold_out, model)
        for hold_out in tqdm(hold_outs, "hold-outs", disable=None)
        for model in work.params.models
    ]
    table = pd.DataFrame(rows)
    return table, _report(table, skipped, work, leaking)


def list_transfer_metrics(report: dict[str, Any]) -> dict[str, Any]:
    """Scores for the tracking server.

    Parameters
    ----------
    report
        Part of the result of `run_transfer_study`.
    """
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
        "above_chance": bool(score["low"] is not None and score["low"] > chance),
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
        strata=pd.factorize(table["class"], sort=True)[0],
    )
    return dict(scores["balanced_accuracy"])


def _report(
    table: pd.DataFrame, skipped: list[SkippedHoldOut], work: TransferContext, leaking: bool
) -> dict[str, Any]:
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
        "confidence": work.params.confidence,
        "models": list(work.params.models),
        "leaking": leaking,
        "summary": summary,
        "rows": rows,
        "skipped": [asdict(missing) for missing in skipped],
        "notes": notes,
    }


def _mean_or_none(values: pd.Series) -> float | None:
    numbers = values.dropna()
    return float(numbers.mean()) if len(numbers) else None
