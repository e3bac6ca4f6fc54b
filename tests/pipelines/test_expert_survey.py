"""The survey from drawing to scores, answered in a real browser."""

import json

import pandas as pd
import pytest

from browser import Browser
from ncm_kedro.datasets.frames.survey import SurveyResponseFolder
from ncm_kedro.params.sem_classify import ClassifyParams, SurveyDrawParams, SurveyScoreParams
from ncm_kedro.pipelines.expert_survey.nodes import (
    draw_expert_survey,
    predict_survey,
    score_expert_survey,
)
from ncm_kedro.sem.experiments.survey import CSV_COLUMNS
from survey_cases import make_tables

N_RIGHT = 13
STATES = ("pristine", "cycled")


@pytest.fixture(scope="module")
def drawn():
    """Key, classes and page of a survey of 19 images."""
    return draw_expert_survey(*make_tables(), SurveyDrawParams(seed=2))


@pytest.fixture
def page(drawn, tmp_path):
    """A browser that shows the survey."""
    quiz = tmp_path / "quiz.html"
    quiz.write_text(drawn[2], encoding="utf-8")
    with Browser(tmp_path) as browser:
        browser.open(quiz)
        yield browser


def score(drawn, folder):
    key, classes, _ = drawn
    model_responses, model = predict_survey(
        frames={}, key=key, classes=classes, classifier=None, params=ClassifyParams()
    )
    return score_expert_survey(
        key=key,
        classes=classes,
        returned=SurveyResponseFolder(filepath=str(folder)).load(),
        model_responses=model_responses,
        model=model,
        params=SurveyScoreParams(),
    )


def choose(browser, composition, state):
    browser.click(f'input[name=composition][value="{composition}"]')
    browser.click(f'input[name=state][value="{state}"]')


def test_an_expert_answers_by_clicks_and_gets_the_planted_score(drawn, page):
    page.write("#expert", 'Kim, "the expert"')
    page.click("#begin")
    for row in drawn[0].to_dict("records"):
        right = row["question"] <= N_RIGHT
        state = row["state"] if right else STATES[STATES[0] == row["state"]]
        assert page.evaluate("document.querySelector('#number').textContent") == (
            f"Image {row['question']} of 19"
        )
        assert page.evaluate("document.querySelector('#picture').naturalWidth") == 70
        choose(page, row["composition"], state)
        page.click("#next")
    assert "All 19 images are answered" in page.evaluate("document.body.innerText")
    page.click("#save")
    saved = page.wait_for_download()
    assert list(pd.read_csv(saved, encoding="utf-8-sig").columns) == list(CSV_COLUMNS)
    assert page.list_requests() == page.list_errors() == []

    marked, scores, comparisons, summary, _ = score(drawn, page.downloads)
    assert set(marked["rater"]) == {'Kim, "the expert"'}
    experts = scores[(scores["kind"] == "expert") & (scores["of_class"] == "all")]
    assert experts.set_index("aspect")["right"].to_dict() == {
        "class": N_RIGHT, "composition": 19, "state": N_RIGHT,
    }  # fmt: skip
    assert summary["best_expert"]["accuracy"] == pytest.approx(N_RIGHT / 19)
    assert comparisons.empty
    assert "no model" in summary["what_next"][0]


def test_keys_do_what_the_mouse_does_and_a_reload_loses_nothing(drawn, page):
    page.click("#expert")
    page.press("x")
    page.press("Enter")
    for key in ("2", "b", "Enter", "3"):
        page.press(key)
    page.reload()
    assert page.evaluate("document.querySelector('#number').textContent") == "Image 2 of 19"
    assert page.evaluate("document.querySelector('input[name=composition]:checked').value") == "811"
    page.press("Backspace")
    checked = "[...document.querySelectorAll('input:checked')].map(one => one.value)"
    assert page.evaluate(checked) == ["622", "cycled"]
    places = "[...document.querySelectorAll('#places button')].map(one => one.ariaLabel)"
    assert page.evaluate(places)[:3] == [
        "Image 1: answered", "Image 2: half answered", "Image 3: not answered",
    ]  # fmt: skip
    assert page.list_errors() == []


def test_the_next_person_at_the_same_computer_starts_anew(page):
    page.write("#expert", "first")
    page.click("#begin")
    choose(page, "333", "pristine")
    first = page.evaluate("state.respondent")
    page.click("#places button:nth-child(19)")
    page.click("#next")
    assert "image 2, 3" in page.evaluate("document.body.innerText")
    page.click("#reset")
    page.wait_for("!document.querySelector('#start').hidden")
    assert page.evaluate("document.querySelector('#expert').value") == ""
    assert page.evaluate("state.respondent") != first
    assert page.evaluate("state.answers.every(one => !one.composition && !one.state)")


def test_without_answers_and_without_a_model_there_is_a_quiz_and_a_next_step(drawn, tmp_path):
    marked, scores, comparisons, summary, figures = score(drawn, tmp_path / "nothing")
    assert marked.empty
    assert scores.empty
    assert comparisons.empty
    assert len(summary["what_next"]) == 2
    json.dumps(summary)
    assert len(figures["scores.png"].axes) == 3


def test_bad_files_do_not_keep_the_good_ones_from_being_scored(drawn, tmp_path):
    key = drawn[0]
    good = key[["survey_id", "question", "composition", "state"]].assign(expert="good")
    good.to_csv(tmp_path / "good.csv", index=False)
    good.assign(survey_id="old").to_csv(tmp_path / "old.csv", index=False)
    (tmp_path / "broken.csv").write_bytes(b"\xff\xfe\x00\x81")
    _, scores, _, summary, _ = score(drawn, tmp_path)
    assert summary["best_expert"]["right"] == 19
    assert set(scores.loc[scores["kind"] == "expert", "rater"]) == {"good"}
    assert {item["file"] for item in summary["rejections"]} == {"old.csv", "broken.csv"}
