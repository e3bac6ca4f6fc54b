"""Scores of experts and model on the same images, and tests of their difference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ncm_kedro.params.sem_classify import SurveyScoreParams
from ncm_kedro.sem.experiments.survey import EXPERT, MODEL, SPLITS_BY_PREFERENCE, Survey

ASPECTS = ("class", "composition", "state")
SCORE_COLUMNS = (
    "rater", "kind", "aspect", "of_class", "pictures", "right", "accuracy", "low", "high", "chance",
)  # fmt: skip
COMPARISON_COLUMNS = (
    "rater", "pictures", "both_right", "model_only", "rater_only", "difference", "p_value",
    "p_holm", "test",
)  # fmt: skip
MEAN, ALL_CLASSES = "mean", "all"
PUBLISHED: dict[str, Any] = {
    "source": "Oh et al. 2024, section 'Performance of CNN' and Fig. 2c",
    "experts": 14,
    "pictures": 19,
    "classes": 12,
    "best_right": 13,
    "mean_right": 5.71,
    "best_accuracy": 13 / 19,
    "mean_accuracy": 5.71 / 19,
    "note": "another survey: other experts, other frames",
}


def score_responses(answers: pd.DataFrame, survey: Survey) -> pd.DataFrame:
    """Compare responses with the key; a blank one is wrong.

    Parameters
    ----------
    answers
        Of experts and model, a row per rater and image (`survey_responses.RESPONSE_COLUMNS`).

    Returns
    -------
    DataFrame
        The responses with `true_class`, `true_composition`, `true_state`, and `class_right`,
        `composition_right`, `state_right`. An expert is right on a class where composition and
        state are.
    """
    truth = survey.key[["question", *ASPECTS]].rename(
        columns={name: f"true_{name}" for name in ASPECTS}
    )
    marked = answers.merge(truth, on="question", how="left", validate="many_to_one")
    for name in ASPECTS[1:]:
        given = marked[name].fillna("").astype(str)
        marked[f"{name}_right"] = (given == marked[f"true_{name}"].astype(str)).to_numpy(bool)
    pairs = marked["composition_right"] & marked["state_right"]
    chosen = marked["class"].fillna("").astype(str) == marked["true_class"].astype(str)
    marked["class_right"] = pairs.where(marked["kind"] == EXPERT, chosen).to_numpy(bool)
    return marked


def score_raters(marked: pd.DataFrame, survey: Survey, params: SurveyScoreParams) -> pd.DataFrame:
    """Score every expert, their mean and the model, over all images and class by class.

    Returns
    -------
    DataFrame
        `SCORE_COLUMNS`. `kind` is `expert`, `model`, or `experts` for their mean; `of_class` is a
        class or `all`. Intervals of a rater are Clopper-Pearson's over images; those of the mean
        are Student's over experts, null for fewer than two.
    """
    chance = {name: 1.0 / survey.classes[name].nunique() for name in ASPECTS}
    rows: list[tuple[Any, ...]] = []
    for aspect in ASPECTS:
        groups = {ALL_CLASSES: marked}
        if aspect == "class":
            groups |= {str(name): part for name, part in marked.groupby("true_class", sort=True)}
        for of_class, part in groups.items():
            counts = _count_right(part, f"{aspect}_right")
            ends = (aspect, of_class)
            rows += [
                (rater, kind, *ends, n, float(right), *score_count(right, n, params.confidence),
                 chance[aspect])
                for (kind, rater), (right, n) in counts.items()
            ]  # fmt: skip
            experts = [value for (kind, _), value in counts.items() if kind == EXPERT]
            if experts:
                n = experts[0][1]
                right = np.array([value for value, _ in experts], dtype=np.float64)
                spread = score_mean(right / n, params.confidence)
                rows.append((MEAN, "experts", *ends, n, right.mean(), *spread, chance[aspect]))
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    texts = dict.fromkeys(("rater", "kind", "aspect", "of_class"), "str")
    numbers = dict.fromkeys(("right", "accuracy", "low", "high", "chance"), "float64")
    return table.astype({**texts, **numbers, "pictures": "int64"})


def compare_with_model(marked: pd.DataFrame) -> pd.DataFrame:
    """Compare the model with every expert and with their mean, image by image.

    Against an expert: McNemar's test, exact (binomial on the images that one of the two has
    right), with Holm's correction over experts. Against the mean: `compute_sign_flip_p`.

    Returns
    -------
    DataFrame
        `COMPARISON_COLUMNS`, empty without experts or model; `difference` is the model's accuracy
        on classes less the rater's.
    """
    right = marked.pivot_table(
        index="question", columns=["kind", "rater"], values="class_right", aggfunc="first"
    )
    kinds = set(right.columns.get_level_values(0)) if len(right) else set()
    rows: list[dict[str, Any]] = []
    if {EXPERT, MODEL} <= kinds:
        model = right[(MODEL, MODEL)].to_numpy(bool)
        experts = cast("pd.DataFrame", right[EXPERT]).astype(bool)
        rows = [_compare_one(str(name), model, experts[name].to_numpy(bool)) for name in experts]
        corrected = correct_holm(np.array([row["p_value"] for row in rows]))
        rows = [row | {"p_holm": float(p)} for row, p in zip(rows, corrected, strict=True)]
        rows.append(_compare_mean(model, experts.to_numpy(bool)))
    table = pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))
    counts = dict.fromkeys(("both_right", "model_only", "rater_only"), "Int64")
    numbers = dict.fromkeys(("difference", "p_value", "p_holm"), "float64")
    return table.astype({"rater": "str", "test": "str", "pictures": "int64", **counts, **numbers})


def score_count(right: int, pictures: int, confidence: float) -> tuple[float, float, float]:
    """Return accuracy and its exact interval (Clopper & Pearson 1934, Biometrika 26, 404)."""
    interval = stats.binomtest(right, pictures).proportion_ci(confidence, method="exact")
    return right / pictures, float(interval.low), float(interval.high)


def score_mean(accuracies: NDArray[np.float64], confidence: float) -> tuple[float, float, float]:
    """Return the mean over experts and Student's interval, within [0, 1]; NaN for one expert.

    The interval covers other experts with the same images, not other images.
    """
    mean = float(accuracies.mean())
    if len(accuracies) < 2:
        return mean, math.nan, math.nan
    error = float(accuracies.std(ddof=1)) / math.sqrt(len(accuracies))
    half = float(stats.t.ppf(0.5 + confidence / 2, len(accuracies) - 1)) * error
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def compute_mcnemar_p(model_only: int, rater_only: int) -> float:
    """Return the two-sided p of McNemar's exact test; 1 where the two never differ."""
    odds = model_only + rater_only
    return float(stats.binomtest(model_only, odds).pvalue) if odds else 1.0


def compute_sign_flip_p(differences: NDArray[np.int64]) -> float:
    """Return the two-sided p of a sum whose terms could as well have the other sign, exactly.

    Fisher's randomisation test on pairs: the distribution over all choices of signs is the
    convolution of one two-point distribution per term.

    Parameters
    ----------
    differences
        (N,) whole numbers, one per image.
    """
    sizes = np.abs(differences)
    distribution = np.ones(1)
    for size in sizes:
        step = np.zeros(2 * int(size) + 1)
        step[0] += 0.5
        step[-1] += 0.5
        distribution = np.convolve(distribution, step)
    sums = np.arange(len(distribution)) - int(sizes.sum())
    return float(min(1.0, distribution[np.abs(sums) >= abs(int(differences.sum()))].sum()))


def correct_holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p values corrected for their number (Holm 1979, Scand. J. Statist. 6, 65)."""
    order = np.argsort(p_values)
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected


def _count_right(marked: pd.DataFrame, column: str) -> dict[tuple[str, str], tuple[int, int]]:
    """Right responses and images by kind and rater, the model last."""
    grouped = marked.groupby(["kind", "rater"], sort=True)[column]
    table = grouped.agg(["sum", "count"])
    return {
        (str(kind), str(rater)): (int(right), int(n))
        for (kind, rater), right, n in zip(table.index, table["sum"], table["count"], strict=True)
    }


def _compare_one(name: str, model: NDArray[np.bool_], expert: NDArray[np.bool_]) -> dict[str, Any]:
    model_only, expert_only = int((model & ~expert).sum()), int((expert & ~model).sum())
    return {
        "rater": name,
        "pictures": len(model),
        "both_right": int((model & expert).sum()),
        "model_only": model_only,
        "rater_only": expert_only,
        "difference": (model_only - expert_only) / len(model),
        "p_value": compute_mcnemar_p(model_only, expert_only),
        "test": "McNemar, exact",
    }


def _compare_mean(model: NDArray[np.bool_], experts: NDArray[np.bool_]) -> dict[str, Any]:
    """Compare on each image the model, as often as there are experts, with all of them."""
    count = experts.shape[1]
    differences = count * model.astype(np.int64) - experts.sum(axis=1)
    return {
        "rater": MEAN,
        "pictures": len(model),
        "difference": float(differences.mean()) / count,
        "p_value": compute_sign_flip_p(differences),
        "test": "randomised signs, exact",
    }


def summarise_survey(
    *,
    survey: Survey,
    scores: pd.DataFrame,
    comparisons: pd.DataFrame,
    rejections: pd.DataFrame,
    model: Mapping[str, Any],
    params: SurveyScoreParams,
) -> dict[str, Any]:
    """Gather what a survey found, ready for JSON.

    Parameters
    ----------
    scores, comparisons, rejections
        Tables of `score_raters`, `compare_with_model` and `collect_responses`.

    Returns
    -------
    dict
        Images, chance, experts (number, best, mean), model, comparison with the mean, the
        published survey, rejected files, caveats, and what to do next.
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
        "rejections": rejections.to_dict("records"),
        "caveats": _name_caveats(survey, model),
        "what_next": _describe_next(experts, overall),
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
    """Read a score; an interval that is not defined is omitted."""
    values = {name: float(row[name]) for name in ("right", "accuracy", "low", "high")}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _name_caveats(survey: Survey, model: Mapping[str, Any]) -> list[str]:
    caveats = []
    if model and model.get("split_hash") not in set(survey.key["split_hash"]):
        caveats.append(
            "the model was trained on another split than the images were drawn from: it may "
            "have been trained on some of them"
        )
    trained = int((survey.key["split"] != SPLITS_BY_PREFERENCE[0]).sum())
    if trained:
        caveats.append(
            f"{trained} of {len(survey.key)} images are from regions that the model was trained "
            "or tuned on: some classes have no test regions"
        )
    shared = int(survey.key["overlaps_other"].sum())
    if shared:
        caveats.append(
            f"{shared} of {len(survey.key)} images show a region that another one shows, too: "
            "there are fewer independent images than the intervals assume"
        )
    return caveats


def _describe_next(experts: pd.DataFrame, overall: pd.DataFrame) -> list[str]:
    steps = []
    if experts.empty:
        steps.append(
            "no responses yet: send quiz.html to experts, put the CSV files that they send back "
            "into the folder of returned responses (data/01_raw/expert_survey), and run "
            "expert_survey again"
        )
    if overall[overall["kind"] == MODEL].empty:
        steps.append(
            "no model to compare with: run `kedro run --pipelines sem`, or name a model that was "
            "refused production in classify_model_uri "
            "(models:/ncm-sem-classifier@candidate), and run expert_survey again"
        )
    return steps
