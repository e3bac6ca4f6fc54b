"""What a survey found, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ncm_kedro.params.expert_survey import SurveyScoreParams
from ncm_kedro.sem.survey_answers import EXPERT, MODEL
from ncm_kedro.sem.survey_draw import SPLITS_BY_PREFERENCE, Survey
from ncm_kedro.sem.survey_scores import ALL_CLASSES, ASPECTS, MEAN, PUBLISHED


def summarise_survey(
    *,
    survey: Survey,
    scores: pd.DataFrame,
    comparisons: pd.DataFrame,
    set_aside: pd.DataFrame,
    model: Mapping[str, Any],
    params: SurveyScoreParams,
) -> dict[str, Any]:
    """Gather what a survey found, ready for JSON.

    Parameters
    ----------
    survey
        What was asked.
    scores, comparisons, set_aside
        Tables of `score_raters`, `compare_with_model` and `collect_answers`.
    model
        Settings that the model was saved with, empty without a model.
    params
        Level of the intervals.

    Returns
    -------
    dict
        Pictures, chance, experts (number, best, mean), model, comparison with the mean, the
        published survey, files set aside, caveats, and what to do next.
    """
    overall = scores[scores["of_class"] == ALL_CLASSES]
    experts = overall[(overall["kind"] == EXPERT) & (overall["aspect"] == "class")]
    against = comparisons[comparisons["rater"] == MEAN]
    return {
        "survey_id": survey.survey_id,
        "pictures": len(survey.key),
        "classes": len(survey.classes),
        "pictures_per_class": dict(
            zip(survey.classes["class"], survey.classes["pictures"].astype(int), strict=True)
        ),
        "confidence_level": params.confidence,
        "chance": {name: 1.0 / int(survey.classes[name].nunique()) for name in ASPECTS},
        "experts": len(experts),
        "best_expert": _best(experts),
        "mean_of_experts": _read_scores(overall[overall["kind"] == "experts"]),
        "model_name": model.get("model"),
        "model": _read_scores(overall[overall["kind"] == MODEL]),
        "model_against_mean": (
            {name: float(against[name].iloc[0]) for name in ("difference", "p_value")}
            if len(against)
            else None
        ),
        "published": PUBLISHED,
        "set_aside": set_aside.to_dict("records"),
        "caveats": _name_caveats(survey, model),
        "what_next": _say_what_next(experts, overall),
    }


def _best(experts: pd.DataFrame) -> dict[str, float] | None:
    if experts.empty:
        return None
    best = experts.sort_values(["right", "rater"], ascending=[False, True]).iloc[0]
    return _numbers(best)


def _read_scores(rows: pd.DataFrame) -> dict[str, dict[str, float]] | None:
    found = {str(row["aspect"]): _numbers(row) for _, row in rows.iterrows()}
    return found or None


def _numbers(row: pd.Series[Any]) -> dict[str, float]:
    """Read a score; an interval that is not defined is left out."""
    values = {name: float(row[name]) for name in ("right", "accuracy", "low", "high")}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _name_caveats(survey: Survey, model: Mapping[str, Any]) -> list[str]:
    caveats = []
    if model and model.get("split_hash") not in set(survey.key["split_hash"]):
        caveats.append(
            "the model was trained on another split than the pictures were drawn from: it may "
            "have been trained on some of them"
        )
    trained = int((survey.key["split"] != SPLITS_BY_PREFERENCE[0]).sum())
    if trained:
        caveats.append(
            f"{trained} of {len(survey.key)} pictures are from ground that the model was trained "
            "or tuned on: some classes have no test ground"
        )
    shared = int(survey.key["shares_ground"].sum())
    if shared:
        caveats.append(
            f"{shared} of {len(survey.key)} pictures show ground that another one shows, too: "
            "there are fewer independent pictures than the intervals assume"
        )
    return caveats


def _say_what_next(experts: pd.DataFrame, overall: pd.DataFrame) -> list[str]:
    steps = []
    if experts.empty:
        steps.append(
            "no answers yet: send quiz.html to experts, put the CSV files that they send back "
            "into the folder of returned answers (data/01_raw/expert_survey), and run "
            "expert_survey again"
        )
    if overall[overall["kind"] == MODEL].empty:
        steps.append(
            "no model to compare with: run `kedro run --pipelines sem`, or name a model that was "
            "refused production in classify_model_uri "
            "(models:/ncm-sem-classifier@candidate), and run expert_survey again"
        )
    return steps
