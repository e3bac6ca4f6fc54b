"""Returned answers: which files count, and what the model says of the same pictures."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ncm_kedro.errors import FrameError, ModelError
from ncm_kedro.learning.models.classifier import SemClassifier
from ncm_kedro.params.sem_classify import ClassifyParams, SurveyScoreParams
from ncm_kedro.sem.inference.classify import build_frame_classifier, describe_prediction
from ncm_kedro.sem.io.frames import RejectedFile
from ncm_kedro.sem.io.labels import ClassLabel
from ncm_kedro.sem.survey.draw import Survey, cut_view

CSV_COLUMNS = (
    "survey_id", "respondent", "expert", "role", "question", "composition", "state", "saved_at",
)  # fmt: skip
REQUIRED_COLUMNS = ("survey_id", "question", "composition", "state")
RESPONSE_COLUMNS = ("rater", "kind", "role", "file", "question", "class", "composition", "state")
EXPERT, MODEL = "expert", "model"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResponseFile:
    """A returned CSV.

    Attributes
    ----------
    file
        Name of the file.
    rows
        Its rows as text, empty where nothing was given.
    """

    file: str
    rows: pd.DataFrame


@dataclass(frozen=True)
class ResponseFiles:
    """What lies in the folder of returned answers.

    Attributes
    ----------
    files
        Files that are CSV, sorted by name.
    rejections
        Files that are not, with reasons.
    """

    files: tuple[ResponseFile, ...]
    rejections: tuple[RejectedFile, ...]


def collect_responses(
    returned: ResponseFiles, survey: Survey, params: SurveyScoreParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check every returned file; one that cannot count is set aside and the others go on.

    Of several files of an expert (same name, or same page where no name is given) the one saved
    last counts.

    Parameters
    ----------
    returned
        What lies in the folder.
    survey
        The survey that is scored.
    params
        How many answers an expert must have given.

    Returns
    -------
    answers
        `RESPONSE_COLUMNS`, a row per expert and picture; an answer that was not given is null.
    rejections
        `file`, `reason`.
    """
    aside = list(returned.rejections)
    counted: dict[str, ResponseFile] = {}
    for answer in sorted(returned.files, key=_age):
        problem = _find_problem(answer.rows, survey, params)
        if problem:
            aside.append(RejectedFile(answer.file, problem))
            continue
        expert = _identify(answer)
        if expert in counted:
            earlier = counted.pop(expert).file
            reason = f"an earlier answer of the expert who saved {answer.file} later"
            aside.append(RejectedFile(earlier, reason))
        counted[expert] = answer
    for item in aside:
        _LOG.warning("set aside: %s: %s", item.file, item.reason)
    tables = [_tabulate(answer, survey) for answer in counted.values()]
    reasons = pd.DataFrame(
        [(item.file, item.reason) for item in aside], columns=["file", "reason"], dtype="str"
    )
    return join_responses(tables), reasons.sort_values("file", ignore_index=True)


def predict_responses(
    frames: Mapping[str, NDArray[np.uint8]],
    survey: Survey,
    classifier: SemClassifier,
    params: ClassifyParams,
) -> pd.DataFrame:
    """Let a classifier answer the survey, from the same pictures.

    Composition and state are those of the greatest summed probability, so that they need not be
    those of the most probable class.

    Returns
    -------
    DataFrame
        `RESPONSE_COLUMNS`, a row per picture; null where a picture is too small for the model.

    Raises
    ------
    ModelError
        The model does not know a class that the survey asks about.
    """
    _check_classes(survey, classifier)
    frame_classifier = build_frame_classifier(classifier, params)
    rows = []
    for row in survey.key.to_dict("records"):
        question = int(row["question"])
        try:
            answer = frame_classifier.classify_frame(
                cut_view(frames, row), float(row["pixel_size_um"]), f"picture {question}"
            )
        except FrameError as error:
            _LOG.warning("the model leaves a picture blank: %s", error)
            said = dict.fromkeys(("predicted", "composition", "state"))
        else:
            said = describe_prediction(classifier, answer)
        rows.append((question, said["predicted"], said["composition"], said["state"]))
    table = pd.DataFrame(rows, columns=["question", "class", "composition", "state"])
    return join_responses([table.assign(rater=MODEL, kind=MODEL, role="", file="")])


def join_responses(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Put tables of answers below each other; none gives an empty table of the right types."""
    texts = dict.fromkeys((name for name in RESPONSE_COLUMNS if name != "question"), "str")
    empty = pd.DataFrame({name: [] for name in RESPONSE_COLUMNS})
    joined = pd.concat(tables, ignore_index=True) if tables else empty
    return joined[list(RESPONSE_COLUMNS)].astype({**texts, "question": "int64"})


def _age(answer: ResponseFile) -> tuple[str, str]:
    saved = answer.rows.get("saved_at", pd.Series(dtype="str"))
    return (max(saved.astype(str), default=""), answer.file)


def _identify(answer: ResponseFile) -> str:
    """Name the expert: by the name given, else by the page's number, else by the file."""
    name = " ".join(_first(answer, "expert").split())
    return name.casefold() or _first(answer, "respondent") or answer.file


def _first(answer: ResponseFile, column: str) -> str:
    if column not in answer.rows:
        return ""
    return next((text.strip() for text in answer.rows[column] if text.strip()), "")


def _find_problem(rows: pd.DataFrame, survey: Survey, params: SurveyScoreParams) -> str | None:
    missing = [name for name in REQUIRED_COLUMNS if name not in rows]
    if missing:
        return f"no column {', '.join(missing)}; expected {', '.join(CSV_COLUMNS)}"
    if rows.empty:
        return "no answer: a header alone"
    others = sorted(set(rows["survey_id"]) - {survey.survey_id})
    if others:
        return (
            f"answers to another survey ('{others[0]}'); this one is '{survey.survey_id}': "
            "send the expert the present quiz"
        )
    return _find_bad_cell(rows, survey) or _find_gaps(rows, len(survey.key), params)


def _find_bad_cell(rows: pd.DataFrame, survey: Survey) -> str | None:
    numbers = [str(number) for number in survey.key["question"]]
    wrong = [text for text in rows["question"] if text not in numbers]
    if wrong:
        return f"question '{wrong[0]}'; expected a whole number from 1 to {len(numbers)}"
    for column in ("composition", "state"):
        known = sorted(set(survey.classes[column]))
        unknown = [text for text in rows[column] if text and text not in known]
        if unknown:
            return f"unknown {column} '{unknown[0]}'; expected {', '.join(known)} or nothing"
    return None


def _find_gaps(rows: pd.DataFrame, n_images: int, params: SurveyScoreParams) -> str | None:
    last = rows.drop_duplicates("question", keep="last")
    answered = int((last[["composition", "state"]] != "").any(axis=1).sum())
    needed = max(1, math.ceil(params.min_response_share * n_images))
    if answered >= needed:
        return None
    return f"{answered} of {n_images} pictures answered; expected at least {needed}"


def _tabulate(answer: ResponseFile, survey: Survey) -> pd.DataFrame:
    """Give every picture a row; the last of several answers to a picture counts."""
    repeated = int(answer.rows["question"].duplicated().sum())
    if repeated:
        _LOG.warning("%s: %d answers are repeated; the last counts", answer.file, repeated)
    last = answer.rows.drop_duplicates("question", keep="last").set_index("question")
    questions = survey.key["question"].astype(str)
    given = last.reindex(questions, fill_value="")[["composition", "state"]]
    pairs = zip(given["composition"], given["state"], strict=True)
    names = [ClassLabel(*pair).name if all(pair) else None for pair in pairs]
    anonymous = f"anonymous ({answer.file})"
    return pd.DataFrame(
        {
            "rater": " ".join(_first(answer, "expert").split()) or anonymous,
            "kind": EXPERT,
            "role": _first(answer, "role"),
            "file": answer.file,
            "question": survey.key["question"].to_numpy(),
            "class": names,
            "composition": given["composition"].replace("", None).to_numpy(),
            "state": given["state"].replace("", None).to_numpy(),
        }
    )


def _check_classes(survey: Survey, classifier: SemClassifier) -> None:
    known = classifier.settings.classes
    unknown = sorted(set(survey.classes["class"]) - set(known))
    if unknown:
        raise ModelError(
            "classifier of the expert survey",
            found=f"a model that does not know {', '.join(unknown)}",
            expected=f"a model of the survey's classes; this one knows {', '.join(known)}",
            action="name another model in classify_model_uri, or train one on this data",
        )
