"""The survey page for experts, and the figure that compares them with the model."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ncm_kedro.params.sem_classify import SurveyDrawParams
from ncm_kedro.plotting.axes import annotate_empty
from ncm_kedro.plotting.report import render_page
from ncm_kedro.plotting.style import BLUE, GREEN, GREY, ORANGE
from ncm_kedro.sem.experiments.survey import CSV_COLUMNS, EXPERT, MODEL, Survey, cut_view
from ncm_kedro.sem.experiments.survey_scores import ALL_CLASSES, ASPECTS
from ncm_kedro.sem.inference.classify import resample_frame

_DIGITS, _LETTERS = "123456789", "ABCDEFGHIJKLMNOPQRSTUVWXY"
_STATE_ORDER = ("pristine", "formation", "cycled")
_EXPERTS = "experts"
_BROWN = "#8f4a0c"


def render_quiz(
    frames: Mapping[str, NDArray[np.uint8]], survey: Survey, params: SurveyDrawParams
) -> str:
    """Render the survey as one HTML page that needs no other file and no network.

    Nothing in it reveals the class of an image: no names, no order, no banner.

    Parameters
    ----------
    frames
        Grey frames by ``frame_id``, (H, W), banner cut.
    survey
        Images and classes of the survey.
    params
        Size and quality of the images, and who receives the responses.
    """
    return render_page(
        "survey.html.j2",
        survey_id=survey.survey_id,
        pictures=[
            _prepare_image(cut_view(frames, row), float(row["pixel_size_um"]), params)
            for row in survey.key.to_dict("records")
        ],
        choices=_list_choices(survey),
        pairs=_list_pairs(survey),
        columns=CSV_COLUMNS,
        return_to=params.return_to,
    )


def plot_survey(scores: pd.DataFrame, summary: Mapping[str, Any]) -> Figure:
    """Draw experts, their mean, the model, chance and the published survey (as Fig. 2c).

    Parameters
    ----------
    scores
        What `score_raters` returned.
    summary
        What `summarise_survey` returned.
    """
    figure = Figure(figsize=(10.0, 7.2), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[1.15, 1.0], width_ratios=[1.0, 1.8])
    raters = figure.add_subplot(grid[0, :])
    by_aspect, by_class = (figure.add_subplot(grid[1, column]) for column in (0, 1))
    overall = scores[scores["of_class"] == ALL_CLASSES]
    _draw_raters(raters, overall[overall["aspect"] == "class"], summary)
    _draw_aspects(by_aspect, overall)
    _draw_classes(by_class, scores[scores["of_class"] != ALL_CLASSES])
    if scores.empty:
        for axes in (by_aspect, by_class):
            annotate_empty(axes, "no responses yet", keep_axis=True)
    for axes in (raters, by_aspect, by_class):
        axes.set_ylim(0.0, 1.03)
        axes.set_ylabel("accuracy")
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *raters.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False,
        fontsize=8,
    )  # fmt: skip
    return figure


def _prepare_image(
    view_yx: NDArray[np.uint8], pixel_size_um: float, params: SurveyDrawParams
) -> dict[str, str]:
    scale = min(1.0, params.max_side_px / max(view_yx.shape))
    small_yx = resample_frame(np.ascontiguousarray(view_yx), scale)
    quality = [cv2.IMWRITE_JPEG_QUALITY, params.jpeg_quality]
    content = cv2.imencode(".jpg", small_yx, quality)[1].tobytes()
    width_um, height_um = (side * pixel_size_um for side in view_yx.shape[::-1])
    return {
        "source": f"data:image/jpeg;base64,{base64.b64encode(content).decode('ascii')}",
        "caption": f"The image is {width_um:.3g} µm wide and {height_um:.3g} µm high.",
    }


def _list_choices(survey: Survey) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """Name, heading and options (value, text, key to press) of each group of choices."""
    compositions = sorted(set(survey.classes["composition"]))
    groups = (
        ("composition", "Composition (Ni:Mn:Co)", compositions, _DIGITS),
        ("state", "State", _order_states(set(survey.classes["state"])), _LETTERS),
    )
    return [
        (name, heading, [(v, v, keys[n : n + 1]) for n, v in enumerate(values)])
        for name, heading, values, keys in groups
    ]


def _list_pairs(survey: Survey) -> list[str]:
    """List what occurs, where not every composition comes in every state."""
    classes = survey.classes
    if len(classes) == classes["composition"].nunique() * classes["state"].nunique():
        return []
    return [
        f"{composition}: {', '.join(_order_states(set(part['state'])))}"
        for composition, part in classes.groupby("composition", sort=True)
    ]


def _order_states(states: set[str]) -> list[str]:
    known = [name for name in _STATE_ORDER if name in states]
    return [*known, *sorted(states - set(known))]


def _draw_raters(axes: Axes, rows: pd.DataFrame, summary: Mapping[str, Any]) -> None:
    """Draw a bar per expert, the best first, and the references as lines."""
    experts = rows[rows["kind"] == EXPERT].sort_values(["right", "rater"], ascending=False)
    places = np.arange(len(experts), dtype=np.float64)
    if experts.empty:
        annotate_empty(
            axes,
            "no responses yet: send quiz.html to experts and put the CSV files that\n"
            "come back into the folder of returned responses",
            keep_axis=True,
        )
    else:
        heights = experts["accuracy"]
        axes.bar(places, heights, width=0.62, color=ORANGE, alpha=0.75, label="experts")
    _draw_intervals(axes, places, experts, "#1c2430")
    _draw_level(axes, rows[rows["kind"] == _EXPERTS], _BROWN, "mean of experts")
    _draw_level(axes, rows[rows["kind"] == MODEL], BLUE, "model, same images")
    chance = summary["chance"]["class"]
    axes.axhline(chance, color=GREY, linestyle=":", label=f"chance: {100 * chance:.1f}%")
    _draw_published(axes, summary["published"])
    axes.set_xticks(places, [str(n) for n in range(1, len(experts) + 1)], fontsize=8)
    axes.set_xlim(-0.6, max(len(experts), 8) - 0.4)
    level = 100 * summary["confidence_level"]
    axes.set_xlabel(f"expert, by score (whiskers and bands: {level:.0f}% intervals)", fontsize=9)
    size = f"{summary['pictures']} images of {summary['classes']} classes"
    axes.set_title(f"Composition and state right, {size}", fontsize=10)


def _draw_published(axes: Axes, published: Mapping[str, Any]) -> None:
    """Draw the survey of the paper, of other experts on other frames, dashed."""
    style: dict[str, Any] = {"color": GREEN, "linestyle": "--", "linewidth": 1.2}
    for score, name in (("best_accuracy", "best"), ("mean_accuracy", "mean")):
        axes.axhline(published[score], **style)
        axes.annotate(
            f"{name}, other survey: {100 * published[score]:.0f}%",
            (1.0, published[score]), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=8, color=GREEN,
            annotation_clip=False,
        )  # fmt: skip
    label = f"{published['experts']} experts of Oh et al. 2024: other frames"
    axes.plot([], [], label=label, **style)


def _draw_level(axes: Axes, rows: pd.DataFrame, colour: str, label: str) -> None:
    """Draw a score across the panel, with its interval as a band."""
    for row in rows.to_dict("records"):
        text = f"{label}: {100 * row['accuracy']:.0f}%"
        axes.axhline(row["accuracy"], color=colour, linewidth=1.8, label=text)
        if not np.isnan(row["low"]):
            axes.axhspan(row["low"], row["high"], color=colour, alpha=0.12, linewidth=0)


def _draw_aspects(axes: Axes, overall: pd.DataFrame) -> None:
    """Draw dots of the experts beside their mean and the model, for each part of the response."""
    for place, aspect in enumerate(ASPECTS):
        rows = overall[overall["aspect"] == aspect]
        experts = rows.loc[rows["kind"] == EXPERT, "accuracy"].to_numpy(np.float64)
        across = np.linspace(-0.1, 0.1, len(experts)) if len(experts) > 1 else np.zeros(1)
        axes.plot(
            place - 0.2 + across[: len(experts)], np.sort(experts), "o", color=ORANGE, alpha=0.5,
            markersize=4,
        )  # fmt: skip
        for kind, shift, colour in ((_EXPERTS, 0.02, _BROWN), (MODEL, 0.25, BLUE)):
            part = rows[rows["kind"] == kind]
            _draw_intervals(axes, np.full(len(part), place + shift), part, colour, marker="D")
        if len(rows):
            chance = float(rows["chance"].iloc[0])
            axes.plot([place - 0.4, place + 0.4], [chance] * 2, color=GREY, linestyle=":")
    axes.set_xticks(range(len(ASPECTS)), ["both", *ASPECTS[1:]], fontsize=8)
    axes.set_xlim(-0.55, len(ASPECTS) - 0.45)
    axes.set_title("By part of the response", fontsize=10)


def _draw_classes(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the mean of the experts beside the model, class by class."""
    names = list(dict.fromkeys(rows["of_class"]))
    place = {name: number for number, name in enumerate(names)}
    for kind, shift, colour in ((_EXPERTS, -0.19, ORANGE), (MODEL, 0.19, BLUE)):
        part = rows[rows["kind"] == kind]
        at = part["of_class"].map(place).to_numpy(np.float64) + shift
        axes.bar(at, part["accuracy"], width=0.36, color=colour, alpha=0.75)
        axes.plot(at, part["accuracy"], "_", color=colour, markersize=8)
    counts = rows.drop_duplicates("of_class").set_index("of_class")["pictures"]
    labels = [f"{name} ({counts[name]})" for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=40, ha="right", fontsize=8)
    axes.set_xlim(-0.6, max(len(names), 1) - 0.4)
    axes.set_title("By true class (images)", fontsize=10)


def _draw_intervals(
    axes: Axes,
    places: NDArray[np.float64] | Sequence[float],
    rows: pd.DataFrame,
    colour: str,
    marker: str = "",
) -> None:
    values = rows["accuracy"].to_numpy(np.float64)
    spread = [
        np.nan_to_num(np.maximum(values - rows["low"].to_numpy(np.float64), 0.0)),
        np.nan_to_num(np.maximum(rows["high"].to_numpy(np.float64) - values, 0.0)),
    ]
    axes.errorbar(
        places, values, yerr=spread, fmt=marker or "none", color=colour, ecolor=colour, capsize=3,
        elinewidth=1.2, markersize=5,
    )  # fmt: skip
