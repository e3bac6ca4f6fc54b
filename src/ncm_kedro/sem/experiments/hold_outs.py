"""What transfer holds out: a state, composition or session that training never shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.learning.data.crop_index import CropIndex
from ncm_kedro.params.sem_studies import HoldOutKind
from ncm_kedro.sem.crops.crop_set import CropSet, index_crops
from ncm_kedro.sem.crops.regions import SPLITS

IN_SESSION = "nothing"
"""Name of the hold-out where training sees every class: the score beside."""
HEADS: dict[HoldOutKind, str] = {
    "state": "composition",
    "composition": "state",
    "session": "class",
}
"""Target predicted for the held-out crops, by what is held out."""


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
