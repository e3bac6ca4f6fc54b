"""Drawing the survey, predicting its images, scoring the responses."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.datasets.frames.store import FrameStore
from ncm_kedro.learning.models.classifier import SemClassifier
from ncm_kedro.params.sem_classify import ClassifyParams, SurveyDrawParams, SurveyScoreParams
from ncm_kedro.sem.experiments.survey import ResponseFiles


def draw_expert_survey(
    frames: FrameStore, manifest: pd.DataFrame, crops: pd.DataFrame, params: SurveyDrawParams
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Draw the images; return the key, the classes and the page."""
    from ncm_kedro.plotting.sem.survey import render_quiz
    from ncm_kedro.sem.experiments.survey import draw_survey

    survey = draw_survey(frames, manifest, crops, params)
    return survey.key, survey.classes, render_quiz(frames, survey, params)


def predict_survey(
    *,
    frames: FrameStore,
    key: pd.DataFrame,
    classes: pd.DataFrame,
    classifier: SemClassifier | None,
    params: ClassifyParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Predict the images, and name the model; without a model there are no predictions."""
    from ncm_kedro.sem.experiments.survey import Survey, join_responses, predict_responses

    if classifier is None:
        return join_responses([]), {}
    answers = predict_responses(frames, Survey(key, classes), classifier, params)
    return answers, classifier.settings.model_dump(mode="json")


def score_expert_survey(
    *,
    key: pd.DataFrame,
    classes: pd.DataFrame,
    returned: ResponseFiles,
    model_responses: pd.DataFrame,
    model: dict[str, Any],
    params: SurveyScoreParams,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any], dict[str, Figure]]:
    """Set experts against the key, the model and each other."""
    from ncm_kedro.plotting.sem.survey import plot_survey
    from ncm_kedro.sem.experiments.survey import Survey, collect_responses, join_responses
    from ncm_kedro.sem.experiments.survey_scores import (
        compare_with_model,
        score_raters,
        score_responses,
        summarise_survey,
    )

    survey = Survey(key, classes)
    answers, rejections = collect_responses(returned, survey, params)
    marked = score_responses(join_responses([answers, model_responses]), survey)
    scores = score_raters(marked, survey, params)
    comparisons = compare_with_model(marked)
    summary = summarise_survey(
        survey=survey,
        scores=scores,
        comparisons=comparisons,
        rejections=rejections,
        model=model,
        params=params,
    )
    figures = {"scores.png": plot_survey(scores, summary)}
    return marked, scores, comparisons, summary, figures
