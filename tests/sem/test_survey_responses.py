"""Which returned files count, and the model's predictions."""

import numpy as np
import pytest

from ncm_kedro.errors import ModelError
from ncm_kedro.params.sem_classify import ClassifyParams, SurveyDrawParams, SurveyScoreParams
from ncm_kedro.sem.experiments.survey import (
    RESPONSE_COLUMNS,
    ResponseFile,
    ResponseFiles,
    collect_responses,
    cut_view,
    draw_survey,
    predict_responses,
)
from ncm_kedro.sem.inference.classify import build_frame_classifier
from ncm_kedro.sem.io.frames import ClassLabel, RejectedFile
from survey_cases import fill_survey, make_survey, make_tables

SURVEY = make_survey()
PARAMS = SurveyScoreParams()


def collect(*files, aside=()):
    return collect_responses(ResponseFiles(files, tuple(aside)), SURVEY, PARAMS)


def change(answer, place, **cells):
    rows = answer.rows.copy()
    for column, value in cells.items():
        rows.loc[rows.index[place], column] = value
    return ResponseFile(answer.file, rows)


def test_good_answers_come_back_as_they_were_given():
    answers, aside = collect(fill_survey(SURVEY, 19, expert="Kim", file="kim.csv"))
    assert list(answers.columns) == list(RESPONSE_COLUMNS)
    assert aside.empty
    assert answers["class"].tolist() == SURVEY.key["class"].tolist()
    assert set(answers["rater"]) == {"Kim"}


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"survey_id": "other9"}, "another survey ('other9'); this one is 'abc123'"),
        ({"question": "20"}, "question '20'; expected a whole number from 1 to 19"),
        ({"question": "two"}, "question 'two'"),
        ({"composition": "532"}, "unknown composition '532'; expected 333, 622, 811"),
        ({"state": "aged"}, "unknown state 'aged'; expected cycled, pristine"),
    ],
)
def test_a_bad_cell_sets_its_file_aside_and_the_others_go_on(cells, reason):
    bad = change(fill_survey(SURVEY, 5, expert="Bad", file="bad.csv"), 4, **cells)
    answers, aside = collect(bad, fill_survey(SURVEY, 5, expert="Good", file="good.csv"))
    assert set(answers["rater"]) == {"Good"}
    assert aside["file"].tolist() == ["bad.csv"]
    assert reason in aside["reason"][0]


def test_a_missing_column_and_an_empty_table_are_named():
    answer = fill_survey(SURVEY, 5)
    cut = ResponseFile("cut.csv", answer.rows.drop(columns="state"))
    empty = ResponseFile("empty.csv", answer.rows.iloc[:0])
    answers, aside = collect(cut, empty, aside=[RejectedFile("notes.txt", "not a CSV file")])
    assert answers.empty
    reasons = aside.set_index("file")["reason"]
    assert "no column state" in reasons["cut.csv"]
    assert "a header alone" in reasons["empty.csv"]
    assert reasons["notes.txt"] == "not a CSV file"


def test_too_few_answers_do_not_count_and_blanks_stay_blank():
    answer = fill_survey(SURVEY, 19)
    few, enough = answer.rows.copy(), answer.rows.copy()
    few.loc[9:, ["composition", "state"]] = ""
    enough.loc[10:, ["composition", "state"]] = ""
    answers, aside = collect(ResponseFile("few.csv", few), ResponseFile("enough.csv", enough))
    assert aside["reason"].str.startswith("9 of 19 ").tolist() == [True]
    assert set(answers["file"]) == {"enough.csv"}
    assert answers["class"].isna().tolist() == [False] * 10 + [True] * 9


def test_missing_rows_are_blank():
    answer = fill_survey(SURVEY, 19)
    answers, _ = collect(ResponseFile("a.csv", answer.rows.iloc[3:]))
    assert answers["question"].tolist() == list(range(1, 20))
    assert answers["composition"].isna().sum() == 3


def test_of_several_files_of_an_expert_the_last_saved_counts(caplog):
    late = fill_survey(SURVEY, 3, expert="kim  LEE", file="a.csv", saved_at="2026-02-01")
    early = fill_survey(SURVEY, 9, expert="Kim Lee", file="b.csv", saved_at="2026-01-01")
    answers, aside = collect(late, early)
    assert set(answers["file"]) == {"a.csv"}
    assert aside["file"].tolist() == ["b.csv"]
    assert "b.csv" in caplog.text


def test_nameless_files_are_told_apart_by_the_page_that_wrote_them():
    files = [
        ResponseFile(f"{number}.csv", fill_survey(SURVEY, 4).rows.assign(respondent=page))
        for number, page in enumerate(["p1", "p1", "p2"])
    ]
    answers, aside = collect(*files)
    assert set(answers["file"]) == {"1.csv", "2.csv"}
    assert aside["file"].tolist() == ["0.csv"]


def test_of_several_answers_to_a_picture_the_last_counts(caplog):
    answer = fill_survey(SURVEY, 19, file="twice.csv")
    answers, _ = collect(change(answer, 18, question="1"))
    assert answers["class"][0] == SURVEY.key["class"][18]
    assert "twice.csv: 1 " in caplog.text


def two_classes(frames_per_class=3):
    labels = [ClassLabel("811"), ClassLabel("811", "cycled")]
    frames, manifest, crops = make_tables(frames_per_class, labels=labels)
    return frames, draw_survey(frames, manifest, crops, SurveyDrawParams(pictures=6))


def test_the_model_sees_the_same_pictures(classifier):
    frames, survey = two_classes()
    answers = predict_responses(frames, survey, classifier, ClassifyParams(device="cpu", threads=1))
    evaluate = build_frame_classifier(classifier, ClassifyParams(device="cpu", threads=1))
    expected = []
    for row in survey.key.to_dict("records"):
        answer = evaluate.classify_frame(np.ascontiguousarray(cut_view(frames, row)), 0.25, "")
        expected.append(classifier.settings.classes[int(answer.probabilities.argmax())])
    assert answers["class"].tolist() == expected
    assert set(answers["kind"]) == {"model"}
    assert answers["question"].tolist() == list(range(1, 7))


def test_a_picture_too_small_for_the_model_is_blank(classifier, caplog):
    frames, survey = two_classes()
    survey.key.loc[2, "x1_px"] = 30
    answers = predict_responses(frames, survey, classifier, ClassifyParams(device="cpu", threads=1))
    assert answers["class"].isna().tolist() == [False, False, True, False, False, False]
    assert "image 3" in caplog.text


def test_a_model_of_other_classes_is_refused(classifier):
    with pytest.raises(ModelError, match="does not know 333"):
        predict_responses({}, SURVEY, classifier, ClassifyParams())
