"""Scores, intervals and tests against known values."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from ncm_kedro.params.sem_classify import SurveyScoreParams
from ncm_kedro.sem.experiments.survey import ResponseFiles, collect_responses, join_responses
from ncm_kedro.sem.experiments.survey_scores import (
    COMPARISON_COLUMNS,
    PUBLISHED,
    SCORE_COLUMNS,
    compare_with_model,
    compute_mcnemar_p,
    compute_sign_flip_p,
    correct_holm,
    score_count,
    score_mean,
    score_raters,
    score_responses,
    summarise_survey,
)
from survey_cases import LABELS, fill_survey, make_survey

SURVEY, PARAMS = make_survey(), SurveyScoreParams()


def mark(right_counts, model_right=None, survey=SURVEY):
    """Marked responses of experts with the given numbers of correct images, and of a model."""
    files = [
        fill_survey(survey, right, expert=f"e{number}", file=f"{number}.csv")
        for number, right in enumerate(right_counts)
    ]
    tables = [collect_responses(ResponseFiles(tuple(files), ()), survey, PARAMS)[0]]
    if model_right is not None:
        file = fill_survey(survey, model_right, expert="model")
        model = collect_responses(ResponseFiles((file,), ()), survey, PARAMS)[0]
        tables.append(model.assign(kind="model"))
    return score_responses(join_responses(tables), survey)


def overall(scores, kind, aspect="class"):
    chosen = (scores["kind"] == kind) & (scores["aspect"] == aspect) & (scores["of_class"] == "all")
    return scores[chosen].set_index("rater")


def test_the_published_survey_is_scored_as_published():
    """13 of 19 is 68.4 % (95 % interval 43 to 87), 5.71 of 19 is 30.0 %."""
    accuracy, low, high = score_count(13, 19, 0.95)
    assert (round(100 * accuracy, 1), round(100 * low), round(100 * high)) == (68.4, 43, 87)
    assert round(100 * PUBLISHED["mean_accuracy"], 1) == 30.1
    assert PUBLISHED["mean_right"] == pytest.approx(80 / PUBLISHED["experts"], abs=0.005)


def test_planted_scores_come_out():
    scores = score_raters(mark([13, 0, 19, 4], model_right=17), SURVEY, PARAMS)
    assert list(scores.columns) == list(SCORE_COLUMNS)
    experts = overall(scores, "expert")
    assert experts["right"].to_dict() == {"e0": 13, "e1": 0, "e2": 19, "e3": 4}
    assert overall(scores, "model")["right"].tolist() == [17]
    assert overall(scores, "experts").loc["mean", "right"] == pytest.approx(9.0)
    assert experts.loc["e1", "low"] == 0.0
    assert experts.loc["e2", "high"] == 1.0


def test_chance_is_one_in_the_number_of_choices():
    scores = score_raters(mark([5]), SURVEY, PARAMS)
    chance = scores.groupby("aspect")["chance"].first()
    assert chance["class"] == pytest.approx(1 / len(LABELS))
    assert chance["composition"] == pytest.approx(1 / 3)
    assert chance["state"] == pytest.approx(1 / 2)


def test_parts_of_an_answer_are_scored_apart_and_blanks_are_wrong():
    answer = fill_survey(SURVEY, 19, expert="e")
    answer.rows.loc[:3, "composition"] = ""
    answer.rows.loc[4, "state"] = {"cycled": "pristine", "pristine": "cycled"}[
        answer.rows.loc[4, "state"]
    ]
    answers, _ = collect_responses(ResponseFiles((answer,), ()), SURVEY, PARAMS)
    scores = score_raters(score_responses(answers, SURVEY), SURVEY, PARAMS)
    right = {
        name: overall(scores, "expert", name)["right"]["e"] for name in ("composition", "state")
    }
    assert right == {"composition": 15, "state": 18}
    assert overall(scores, "expert")["right"]["e"] == 14


def test_classes_add_up_to_the_whole():
    scores = score_raters(mark([7, 11], model_right=3), SURVEY, PARAMS)
    by_class = scores[scores["of_class"] != "all"]
    assert by_class.groupby("rater")["right"].sum().to_dict() == pytest.approx(
        {"e0": 7, "e1": 11, "mean": 9, "model": 3}
    )
    assert by_class[by_class["rater"] == "e0"]["pictures"].sum() == 19


def test_the_interval_of_the_mean_is_students():
    values = np.array([0.2, 0.3, 0.5, 0.4])
    mean, low, high = score_mean(values, 0.95)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((0.35, expected.low, expected.high))
    assert np.isnan(score_mean(values[:1], 0.95)[1:]).all()


def test_mcnemar_against_a_table_worked_by_hand():
    """1 against 7: 2 (C(8,0) + C(8,1)) / 2^8."""
    assert compute_mcnemar_p(1, 7) == pytest.approx(2 * 9 / 256)
    assert compute_mcnemar_p(7, 1) == compute_mcnemar_p(1, 7)
    assert compute_mcnemar_p(0, 0) == 1.0


def test_randomised_signs_against_brute_force():
    rng = np.random.default_rng(5)
    for _ in range(20):
        differences = rng.integers(-4, 6, 9)
        sums = [np.dot(signs, differences) for signs in product((-1, 1), repeat=9)]
        expected = np.mean(np.abs(sums) >= abs(differences.sum()))
        assert compute_sign_flip_p(differences) == pytest.approx(expected)
    assert compute_sign_flip_p(np.zeros(4, np.int64)) == 1.0


def test_holms_correction_by_hand():
    corrected = correct_holm(np.array([0.04, 0.01, 0.03, 0.5]))
    assert corrected == pytest.approx([0.09, 0.04, 0.09, 0.5])


def test_model_and_experts_are_compared_picture_by_picture():
    comparisons = compare_with_model(mark([4, 12], model_right=16)).set_index("rater")
    assert comparisons.loc["e0", ["both_right", "model_only", "rater_only"]].tolist() == [4, 12, 0]
    assert comparisons.loc["e0", "p_value"] == pytest.approx(2 / 2**12)
    assert comparisons.loc["e1", "p_value"] == pytest.approx(2 / 2**4)
    assert comparisons.loc["mean", "difference"] == pytest.approx(8 / 19)
    assert comparisons.loc["e0", "p_holm"] == pytest.approx(4 / 2**12)
    assert comparisons.loc["mean", "p_value"] < 0.001
    with_one = compare_with_model(mark([12], model_right=16)).set_index("rater")
    assert with_one.loc["mean", "p_value"] == pytest.approx(with_one.loc["e0", "p_value"])


def summarise(marked, survey=SURVEY, model=None):
    scores = score_raters(marked, survey, PARAMS)
    aside = collect_responses(ResponseFiles((), ()), survey, PARAMS)[1]
    return scores, summarise_survey(
        survey=survey, scores=scores, comparisons=compare_with_model(marked), rejections=aside,
        model=model or {}, params=PARAMS,
    )  # fmt: skip


def test_the_summary_names_best_mean_model_and_the_difference():
    summary = summarise(mark([13, 3], 17), model={"model": "net", "split_hash": "s1"})[1]
    assert summary["best_expert"]["right"] == 13
    assert summary["mean_of_experts"]["class"]["right"] == 8
    assert summary["model"]["class"]["right"] == 17
    assert summary["model_against_mean"]["difference"] == pytest.approx(9 / 19)
    assert summary["what_next"] == summary["caveats"] == []


def test_without_answers_everything_is_empty_and_the_next_step_is_said():
    scores, summary = summarise(mark([]))
    assert scores.empty
    assert list(scores.columns) == list(SCORE_COLUMNS)
    assert list(compare_with_model(mark([])).columns) == list(COMPARISON_COLUMNS)
    assert compare_with_model(mark([], model_right=5)).empty
    assert summary["best_expert"] is None
    assert "data/01_raw/expert_survey" in summary["what_next"][0]
    assert "kedro run --pipelines sem" in summary["what_next"][1]


def test_pictures_that_the_model_may_know_are_a_caveat():
    survey = make_survey()
    survey.key.loc[:1, "split"] = "train"
    survey.key.loc[2, "overlaps_other"] = True
    caveats = summarise(mark([5], 6), survey, {"model": "net", "split_hash": "s2"})[1]["caveats"]
    assert [text[:7] for text in caveats] == ["the mod", "2 of 19", "1 of 19"]
