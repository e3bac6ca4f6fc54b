"""Transfer to a state, composition or session that training never showed.

A composition that is recognised in a state that training never showed, or a state in a composition
that it never showed, is the nearest that a set without replicate electrodes comes to a new one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ncm_kedro.errors import SettingsError
from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.learning.evaluation.metrics import score_with_intervals
from ncm_kedro.learning.training.fitting import identify_training
from ncm_kedro.params.sem_studies import TEXTURE, HoldOutKind, SemTransferParams, TransferModel
from ncm_kedro.sem.crops.crop_set import CropSet, index_crops
from ncm_kedro.sem.crops.regions import SPLITS
from ncm_kedro.sem.experiments.fits import FitTask, StudyFit, cache_textures

IN_SESSION = "nothing"
"""Name of the hold-out where training sees every class: the score beside."""
HEADS: dict[HoldOutKind, str] = {
    "state": "composition",
    "composition": "state",
    "session": "class",
}
"""Target predicted for the held-out crops, by what is held out."""
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
class TransferCrops:
    """All crops with their targets, in one order.

    Attributes
    ----------
    table
        A row per crop: `crop_id`, `split`, `class`, `composition`, `state`, `session` (number
        within its class), `mosaic`, `area`.
    index
        The same as arrays; labels mean nothing.
    """

    table: pd.DataFrame
    index: CropIndex


@dataclass(frozen=True)
class HoldOut:
    """One training with one group held out.

    Attributes
    ----------
    kind, held_out
        What is held out: the kind, and its name.
    head
        Predicted target: `composition`, `state` or `class`.
    names
        (K,) targets that training shows.
    labels
        (N,) target number of each crop; -1 where training does not show it.
    train, validate, test
        (N,) which crops are used for what.
    """

    kind: str
    held_out: str
    head: str
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    train: NDArray[np.bool_]
    validate: NDArray[np.bool_]
    test: NDArray[np.bool_]


@dataclass(frozen=True)
class SkippedHoldOut:
    """A hold-out that the data do not allow, and why."""

    kind: str
    held_out: str
    reason: str


def list_crops(crop_set: CropSet, manifest: pd.DataFrame) -> TransferCrops:
    """Join crops, their classes and their sessions."""
    table = pd.concat([crop_set.tables[split] for split in SPLITS], ignore_index=True)
    index = index_crops(table, crop_set.bank, crop_set.classes)
    session = manifest.set_index("frame_id")["session"].loc[table["frame_id"]].to_numpy()
    number = {name: place for place, name in enumerate(crop_set.classes)}
    place = table["class"].map(number).to_numpy()
    table = table.assign(
        composition=np.array(crop_set.compositions)[place],
        state=np.array(crop_set.states)[place],
        session=session,
    )
    order = table.groupby("class")["session"].transform(
        lambda part: pd.factorize(part, sort=True)[0] + 1
    )
    columns = ["crop_id", "split", "class", "composition", "state", "mosaic", "area"]
    return TransferCrops(table[columns].assign(session=order.astype(int)), index)


def plan_hold_outs(
    crops: TransferCrops, kinds: tuple[HoldOutKind, ...]
) -> tuple[list[HoldOut], list[SkippedHoldOut]]:
    """Plan the hold-outs; every held-out crop is a test crop.

    Of sessions the first of each class that has several is held out, then the second, and so on;
    training then also excludes regions that a held-out session shows too.

    Parameters
    ----------
    kinds
        What to hold out.
    """
    planned: list[HoldOut] = []
    skipped: list[SkippedHoldOut] = []
    for kind in kinds:
        groups = list(_list_groups(crops.table, kind))
        if not groups:
            reason = "no class has crops of several sessions"
            skipped.append(SkippedHoldOut(kind, "every session", reason))
        for held_out, held in groups:
            found = _plan_one(crops.table, kind, held_out, held)
            if isinstance(found, HoldOut):
                planned.append(found)
            else:
                skipped.append(found)
    return planned, skipped


def plan_in_session(crops: TransferCrops, head: str) -> HoldOut:
    """Plan a training on the training split of all classes, tested on the test split.

    Parameters
    ----------
    head
        Predicted target.
    """
    table = crops.table
    names, labels = _encode_predictions(table, head, np.ones(len(table), dtype=bool))
    train, validate, test = ((table["split"] == split).to_numpy() for split in SPLITS)
    return HoldOut(IN_SESSION, IN_SESSION, head, names, labels, train, validate, test)


def _list_groups(table: pd.DataFrame, kind: HoldOutKind) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    if kind != "session":
        for name in sorted(table[kind].unique()):
            yield str(name), (table[kind] == name).to_numpy()
        return
    several = table.groupby("class")["session"].transform("nunique") > 1
    for number in sorted(table.loc[several, "session"].unique()):
        yield f"session {number}", (several & (table["session"] == number)).to_numpy()


def _plan_one(
    table: pd.DataFrame, kind: HoldOutKind, held_out: str, held: NDArray[np.bool_]
) -> HoldOut | SkippedHoldOut:
    head = HEADS[kind]
    shared = table["mosaic"].isin(set(table.loc[held, "mosaic"])).to_numpy()
    free = ~held & ~shared
    train, validate = (free & (table["split"] == split).to_numpy() for split in SPLITS[:2])
    names, labels = _encode_predictions(table, head, train)
    test = held & (labels >= 0)
    if len(names) < 2:
        return SkippedHoldOut(
            kind, held_out, f"the rest shows {len(names)} {head}(s), two are needed"
        )
    if not test.any():
        return SkippedHoldOut(kind, held_out, f"the rest shows no {head} that {held_out} has")
    validate &= labels >= 0
    missing = [name for k, name in enumerate(names) if not (labels[validate] == k).any()]
    if missing:
        return SkippedHoldOut(kind, held_out, f"no validation crop of {', '.join(missing)} is left")
    return HoldOut(kind, held_out, head, names, labels, train, validate, test)


def _encode_predictions(
    table: pd.DataFrame, head: str, train: NDArray[np.bool_]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    names = tuple(sorted(str(name) for name in table.loc[train, head].unique()))
    number = {name: place for place, name in enumerate(names)}
    labels = table[head].map(lambda name: number.get(name, -1)).to_numpy(np.int64)
    return names, labels


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
