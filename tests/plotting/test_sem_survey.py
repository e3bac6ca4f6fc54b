"""The survey page reveals no class and is self-contained; the figure shows the scores."""

import base64
import re

import cv2
import numpy as np
import pandas as pd
import pytest

from ncm_kedro.params.sem_classify import SurveyDrawParams, SurveyScoreParams
from ncm_kedro.plotting.sem.survey import plot_survey, render_quiz
from ncm_kedro.sem.experiments.survey import Survey
from ncm_kedro.sem.experiments.survey_scores import ASPECTS, SCORE_COLUMNS, summarise_survey

CLASSES = [("333", "pristine"), ("333", "cycled"), ("811", "pristine"), ("811", "cycled")]


def make_survey(classes=CLASSES):
    names = [f"{c}_{s}".removesuffix("_pristine") for c, s in classes]
    table = pd.DataFrame(
        {"class": names, "composition": [c for c, _ in classes], "state": [s for _, s in classes]}
    )
    key = table.assign(
        survey_id="abc123", question=range(1, len(table) + 1), pixel_size_um=0.25, split="test",
        frame_id=[f"secret_{name}/{n}" for n, name in enumerate(names)], x0_px=10, y0_px=0,
        x1_px=610, y1_px=300, overlaps_other=False, split_hash="s1",
    )  # fmt: skip
    return Survey(key, table.assign(pictures=1))


@pytest.fixture(scope="module")
def frames():
    y, x = np.mgrid[:320, :640]
    return {
        frame_id: (128 + 100 * np.sin((x + 40 * n) / 30) * np.cos(y / 25)).astype(np.uint8)
        for n, frame_id in enumerate(make_survey().key["frame_id"])
    }


def read_images(page):
    codes = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    contents = [base64.b64decode(code) for code in codes]
    return [cv2.imdecode(np.frombuffer(c, np.uint8), cv2.IMREAD_UNCHANGED) for c in contents]


def test_the_pictures_are_the_drawn_parts_in_order(frames):
    survey = make_survey()
    pictures = read_images(render_quiz(frames, survey, SurveyDrawParams()))
    assert len(pictures) == 4
    for picture_yx, frame_id in zip(pictures, survey.key["frame_id"], strict=True):
        expected = frames[frame_id][:300, 10:610].astype(float)
        assert np.abs(picture_yx - expected).mean() < 2.0


def test_large_pictures_are_reduced_and_captions_keep_their_size_in_um(frames):
    page = render_quiz(frames, make_survey(), SurveyDrawParams(max_side_px=300))
    assert {picture.shape for picture in read_images(page)} == {(150, 300)}
    assert page.count("150 µm wide and 75 µm high") + page.count(
        "150 \\u00b5m wide and 75 \\u00b5m high"
    ) == len(make_survey().key)


def test_nothing_gives_the_answers_away_and_nothing_is_fetched(frames):
    survey = make_survey()
    page = render_quiz(frames, survey, SurveyDrawParams())
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert "secret" not in text
    for name in ("333_cycled", "811_cycled"):
        assert name not in text
    assert not re.search(r"https?://", text)
    assert "default-src 'none'" in text
    turned = Survey(
        survey.key.assign(**{name: survey.key[name].to_numpy()[::-1] for name in ASPECTS}),
        survey.classes,
    )
    assert render_quiz(frames, turned, SurveyDrawParams()) == page


def test_text_of_the_settings_is_escaped(frames):
    page = render_quiz(frames, make_survey(), SurveyDrawParams(return_to="<b>me</b>"))
    assert "&lt;b&gt;me" in page


def test_pairs_are_told_where_some_do_not_occur(frames):
    assert "These occur" not in render_quiz(frames, make_survey(), SurveyDrawParams())
    page = render_quiz(frames, make_survey(CLASSES[:3]), SurveyDrawParams())
    assert "333: pristine, cycled; 811: pristine" in page


def score_table(experts, model):
    """Scores of raters that have every class right equally often."""
    rows = [
        (rater, kind, aspect, of_class, 4, 4 * value, value, max(0, value - 0.2), 1.0, 0.25)
        for aspect in ASPECTS
        for of_class in (["all", *make_survey().classes["class"]] if aspect == "class" else ["all"])
        for rater, kind, value in [
            *((name, "expert", value) for name, value in experts.items()),
            *([("mean", "experts", float(np.mean(list(experts.values()))))] if experts else []),
            *([("model", "model", model)] if model is not None else []),
        ]
    ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def draw(scores):
    summary = summarise_survey(
        survey=make_survey(), scores=scores, comparisons=pd.DataFrame({"rater": []}),
        rejections=pd.DataFrame(columns=["file", "reason"]), model={}, params=SurveyScoreParams(),
    )  # fmt: skip
    figure = plot_survey(scores, summary)
    figure.draw_without_rendering()
    return figure


def read_texts(figure):
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    return " ".join(texts + [text.get_text() for text in figure.legends[0].get_texts()])


def test_the_figure_shows_experts_by_score_and_the_published_survey():
    figure = draw(score_table({"a": 0.25, "b": 0.75, "c": 0.5}, 1.0))
    raters, _, by_class = figure.axes
    assert [bar.get_height() for bar in raters.patches[:3]] == [0.75, 0.5, 0.25]
    levels = {
        round(float(line.get_ydata()[0]), 3) for line in raters.lines if len(line.get_ydata())
    }
    assert {1.0, 0.5, 0.25, round(13 / 19, 3), round(5.71 / 19, 3)} <= levels
    texts = read_texts(figure)
    assert "best, other survey: 68%" in texts
    assert "14 experts of Oh et al. 2024: other frames" in texts
    assert "model, same images: 100%" in texts
    assert len(by_class.patches) == 2 * 4


@pytest.mark.parametrize("model", [None, 0.5])
def test_without_answers_the_figure_says_what_to_do(model):
    texts = read_texts(draw(score_table({}, model)))
    assert "send quiz.html to experts" in texts
    assert ("model, same images" in texts) == (model is not None)
