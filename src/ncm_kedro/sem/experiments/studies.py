"""What each study varies: its points, planned before anything is trained.

Sources: Oh et al. 2024, Fig. 3 and Supplementary Figs. 2-10, Tables 3-5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd

from ncm_kedro.errors import SettingsError
from ncm_kedro.params.crop_augment import CropParams
from ncm_kedro.params.sem_studies import (
    NETWORK,
    STUDIES,
    TEXTURE,
    Normalisation,
    SemStudiesParams,
    StudyName,
    TransferModel,
)
from ncm_kedro.params.tune_train import AugmentParams, NormaliseParams, TrainParams

_UNITS = {"magnification": "x", "accelerating_voltage_kv": " kV", "instrument": ""}
_CLASSES_NEEDED = 2
TEXTS: dict[StudyName, tuple[str, str]] = {
    "crop_size": ("Crop size", "How large must a crop be at the frames' own pixel size?"),
    "image_count": ("Images per class", "How many crops per class are enough?"),
    "normalisation": ("Normalisation", "Does normalising grey values help?"),
    "grey_levels": ("Grey levels", "Do grey levels alone separate classes, or splits?"),
    "weights": ("Pretrained weights", "Are pretrained weights a better start than random ones?"),
    "finetuning": (
        "Fine-tuning",
        "Does training pretrained weights on help, and how much of them?",
    ),
    "augmentation": ("Augmentation", "Do random flips, rotations, shifts and contrast help?"),
    "magnification": ("Magnification", "Does the magnification matter?"),
    "accelerating_voltage": ("Accelerating voltage", "Does the accelerating voltage matter?"),
    "microscope": ("Microscope", "Is another microscope, such as an optical one, as good?"),
    "split": ("Split", "How does a test score change whose frames overlap those of training?"),
}
"""Title and question of each study."""
CAVEATS = (
    "One seed and one split: another seed of weights or of cuts moves a score too; change "
    "`seed` to see by how much.",
    "Intervals resample areas (none below 8): they do not cover another electrode or session.",
    "Each difference has an interval of its own; among many, some exclude zero by chance.",
)
"""What holds for all of them."""
NOTES: dict[StudyName, tuple[str, ...]] = {
    "crop_size": (
        "The number of crops is the same at every size, the imaged area is not: larger crops "
        "overlap each other more, and their test shows fewer areas.",
    ),
    "image_count": (
        "More crops come from the same area; as published, the validation split grows with them.",
    ),
    "normalisation": (
        "One network is also tested on crops normalised per image that it was never trained on.",
    ),
    "finetuning": (
        "All points start from the discriminant of the same pretrained features, which is epoch 0; "
        "where the best epoch is 0, training on did not help on validation.",
    ),
    "split": ("Split by frame, test crops show regions that training crops show too.",),
}
"""What holds for one."""
ALL: Final = "all"
_SEPARATORS = re.compile(r"[,+\s]+")
_BOTH = (TEXTURE, NETWORK)
_COLUMNS: dict[str, str] = {
    "magnification": "magnification",
    "accelerating_voltage": "accelerating_voltage_kv",
    "microscope": "instrument",
}


def _group_frames(manifest: pd.DataFrame, column: str) -> dict[object, tuple[str, ...]] | str:
    """Group frames by how they were taken; all groups, at least two, show the same classes.

    Returns
    -------
    dict or str
        Frames by what they share, or what the manifest holds and what is missing.
    """
    frames = manifest[~manifest["excluded"].astype(bool)]
    known = frames[frames[column].notna()]
    classes = known.groupby(column, sort=True)["class"].agg(frozenset)
    usable = classes[classes.map(len) >= _CLASSES_NEEDED]
    common = frozenset.intersection(*usable) if len(usable) else frozenset()
    if len(usable) < 2 or len(common) < _CLASSES_NEEDED:
        return _describe_missing(frames, known, column)
    shown = known[known["class"].isin(common)]
    return {
        value: tuple(sorted(shown.loc[shown[column] == value, "frame_id"]))
        for value in usable.index
    }


def _describe_missing(frames: pd.DataFrame, known: pd.DataFrame, column: str) -> str:
    held = [
        f"{_name_value(value, column)} ({len(part)} frames of {part['class'].nunique()} classes)"
        for value, part in known.groupby(column, sort=True)
    ]
    unknown = len(frames) - len(known)
    if unknown:
        held.append(f"{unknown} frames without an entry")
    return (
        f"the manifest's column `{column}` holds {', '.join(held) or 'nothing'}; needed are two "
        f"values that show the same two classes or more: add such frames to the raw folders with "
        f"their sidecars, or name `{column}` in frames.csv, and run sem_ingest again"
    )


def _name_value(value: object, column: str) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text}{_UNITS[column]}"


@dataclass(frozen=True)
class StudyPoint:
    """One setting that is trained and tested.

    Attributes
    ----------
    name, value
        What it is called, and its number where it has one.
    crops, train
        Settings of crops and network.
    models
        What is trained.
    per_class
        Crops per class (training and validation) retained of the table; all without it.
    frame_ids
        Frames that crops are cut from; all that are not excluded without it.
    display_normalise
        Another normalisation that the same network is tested with, without training it for that.
    needs_weights
        Whether it cannot be run without weights from elsewhere.
    """

    name: str
    crops: CropParams
    train: TrainParams
    models: tuple[TransferModel, ...]
    value: float | None = None
    per_class: int | None = None
    frame_ids: tuple[str, ...] | None = None
    display_normalise: NormaliseParams | None = None
    needs_weights: bool = False


@dataclass(frozen=True)
class SkippedPoint:
    """A point that cannot be run, and why."""

    point: str
    reason: str


@dataclass(frozen=True)
class StudyPlan:
    """Points of one study.

    Attributes
    ----------
    name
        Which study.
    varied
        What differs between points.
    reference
        The point that others are compared with; the last that was run where that one was not.
    points, missing
        What is run, and what cannot be.
    """

    name: StudyName
    varied: str
    reference: str | None
    points: Sequence[StudyPoint]
    missing: tuple[SkippedPoint, ...] = ()


def choose_studies(text: str) -> tuple[StudyName, ...]:
    """Return the studies that a user named.

    Raises
    ------
    SettingsError
        There is no study of that name.
    """
    names = [name for name in _SEPARATORS.split(text.strip()) if name]
    unknown = [name for name in names if name != ALL and name not in STUDIES]
    if unknown or not names:
        raise SettingsError(
            "study",
            found=f"{', '.join(unknown) or 'no name'}",
            expected=f"{ALL}, or some of {', '.join(STUDIES)}",
            action="name one with `--params study=crop_size`, several as study=split+weights",
        )
    return tuple(name for name in STUDIES if ALL in names or name in names)


def plan_study(
    name: StudyName, manifest: pd.DataFrame, crops: CropParams, params: SemStudiesParams
) -> StudyPlan:
    """Plan the points of a study."""
    base = _start_from(crops, params)
    if name in _COLUMNS:
        return _plan_groups(name, manifest, base, params)
    plan = _PLANNERS[name](base, params)
    points = tuple(point for point in plan.points if point.models)
    if points:
        return replace(plan, points=points)
    reason = "it needs a network: let sem_studies.models hold `network`"
    return StudyPlan(name, plan.varied, None, (), (SkippedPoint("every point", reason),))


def _start_from(crops: CropParams, params: SemStudiesParams) -> CropParams:
    counts = {name: getattr(params, name) for name in ("images_per_class", "test_images_per_class")}
    return crops.model_copy(update={name: n for name, n in counts.items() if n is not None})


def _choose_models(
    params: SemStudiesParams, sensible: tuple[TransferModel, ...]
) -> tuple[TransferModel, ...]:
    return tuple(model for model in sensible if model in params.models)


def _hold_still(train: TrainParams) -> TrainParams:
    """Leave crops where they lie, or they would show a larger region than their number implies."""
    augment = train.augment.model_copy(update={"position_jitter_px": 0})
    return train.model_copy(update={"augment": augment})


def _plan_crop_size(base: CropParams, params: SemStudiesParams) -> StudyPlan:
    points = [
        StudyPoint(
            name=f"{size} px",
            value=float(size),
            crops=base.model_copy(update={"size_px": size}),
            train=_hold_still(params.train),
            models=_choose_models(params, _BOTH),
        )
        for size in sorted(set(params.sizes_px))
    ]
    return StudyPlan("crop_size", "crop size (px)", f"{base.size_px} px", points)


def _plan_image_count(base: CropParams, params: SemStudiesParams) -> StudyPlan:
    counts = sorted(set(params.counts))
    points = [
        StudyPoint(
            name=f"{count} images",
            value=float(count),
            crops=base.model_copy(update={"images_per_class": counts[-1]}),
            train=_hold_still(params.train),
            models=_choose_models(params, _BOTH),
            per_class=count,
        )
        for count in counts
    ]
    return StudyPlan("image_count", "images per class", f"{counts[-1]} images", points)


def _plan_normalisation(base: CropParams, params: SemStudiesParams) -> StudyPlan:
    points = [
        StudyPoint(
            name=method.replace("_", " "),
            crops=base,
            train=params.train.model_copy(update={"normalise": _normalise(method)}),
            models=_choose_models(params, (NETWORK,)),
            display_normalise=NormaliseParams(method="per_image") if method == "none" else None,
        )
        for method in params.normalisations
    ]
    return StudyPlan("normalisation", "normalisation", "none", points)


def _normalise(method: Normalisation) -> NormaliseParams:
    return NormaliseParams(clahe=True) if method == "clahe" else NormaliseParams(method=method)


def _plan_grey_levels(base: CropParams, params: SemStudiesParams) -> StudyPlan:
    point = StudyPoint("all crops", crops=base, train=params.train, models=(TEXTURE,))
    return StudyPlan("grey_levels", "class and split", None, (point,))


def _plan_weights(base: CropParams, params: SemStudiesParams) -> StudyPlan:
    models, given = _choose_models(params, (NETWORK,)), _start_from_weights(params)
    random = given.model_copy(update={"pretrained": False, "checkpoint_path": None})
    points = [
        StudyPoint("random weights", base, random, models),
        StudyPoint("pretrained weights", base, given, models, needs_weights=True),
    ]
    return StudyPlan("weights", "weights", "random weights", points)


def _start_from_weights(params: SemStudiesParams) -> TrainParams:
    pretrained = params.train.pretrained or True
    return params.train.model_copy(update={"model": params.weights_model, "pretrained": pretrained})


def _plan_finetuning(base: CropParams, params: SemStudiesParams) -> StudyPlan:
    """Plan frozen, partial and full training, and full training without what holds it back."""
    settings = params.finetuning
    start = _start_from_weights(params).model_copy(
        update={
            "last_layer": "discriminant",
            "epochs": settings.epochs,
            "learning_rate": settings.learning_rate,
            "frozen_norms": False,
            "layer_decay": 1.0,
            "l2_sp": 0.0,
        }
    )
    held = {"frozen_norms": True, "layer_decay": settings.layer_decay, "l2_sp": settings.l2_sp}
    varied: dict[str, dict[str, object]] = {
        "frozen": {"trainable": "last_layer"},
        "last stages": {"trainable": "last_stages", **held},
        "all": {"trainable": "all", **held},
        "all, not held back": {"trainable": "all"},
    }
    points = [
        StudyPoint(
            name,
            base,
            start.model_copy(update=update),
            _choose_models(params, (NETWORK,)),
            needs_weights=True,
        )
        for name, update in varied.items()
    ]
    return StudyPlan("finetuning", "trained layers", "frozen", points)


def _plan_augmentation(base: CropParams, params: SemStudiesParams) -> StudyPlan:
    models = _choose_models(params, (NETWORK,))
    off, on = (
        params.train.model_copy(update={"augment": augment})
        for augment in (AugmentParams(), params.augment)
    )
    points = [StudyPoint("off", base, off, models), StudyPoint("on", base, on, models)]
    return StudyPlan("augmentation", "augmentation", "off", points)


def _plan_split(base: CropParams, params: SemStudiesParams) -> StudyPlan:
    models = _choose_models(params, _BOTH)
    points = [
        StudyPoint(
            name,
            base.model_copy(update={"split": base.split.model_copy(update={"by": by})}),
            params.train,
            models,
        )
        for name, by in (("by area", "mosaic"), ("by frame", "frame"))
    ]
    return StudyPlan("split", "split", "by area", points)


def _plan_groups(
    name: StudyName, manifest: pd.DataFrame, base: CropParams, params: SemStudiesParams
) -> StudyPlan:
    column = _COLUMNS[name]
    groups = _group_frames(manifest, column)
    if isinstance(groups, str):
        return StudyPlan(name, column, None, (), (SkippedPoint("every point", groups),))
    points = [
        StudyPoint(
            name=_name_value(value, column),
            value=value if isinstance(value, float) else None,
            crops=base,
            train=params.train,
            models=_choose_models(params, _BOTH),
            frame_ids=frame_ids,
        )
        for value, frame_ids in groups.items()
    ]
    return StudyPlan(name, column, points[0].name, points)


_PLANNERS: dict[StudyName, Callable[[CropParams, SemStudiesParams], StudyPlan]] = {
    "crop_size": _plan_crop_size,
    "image_count": _plan_image_count,
    "normalisation": _plan_normalisation,
    "grey_levels": _plan_grey_levels,
    "weights": _plan_weights,
    "finetuning": _plan_finetuning,
    "augmentation": _plan_augmentation,
    "split": _plan_split,
}
