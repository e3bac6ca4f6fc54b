"""How well a class is predicted without the particles.

A tree and a logistic regression predict class, composition and state from instrument settings or
grey levels alone. Four ways of separating test and training cover four cases: `by_file`
(the published way; neighbouring frames show the same region), `by_area` (disjoint regions of the
same mosaics), `by_mosaic` (other fields of view) and `by_session` (other sessions). The last two
need at least two mosaics or sessions of everything that is predicted. Where classes share their
settings, as they should, a score may lie below chance: the settings of what is held out remain in
the training data with the other classes only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ncm_kedro.params.sem_ingest import AuditParams
from ncm_kedro.sem.io.sidecar import focus_columns, read_settings

_LOG = logging.getLogger(__name__)
Folds: TypeAlias = list[tuple[NDArray[np.intp], NDArray[np.intp]]]
TARGETS = ("class", "composition", "state")
SCHEMES = {"by_file": "frame_id", "by_area": "band", "by_mosaic": "mosaic", "by_session": "session"}
VERDICTS = ("not detectable", "session-bound", "partly confounded", "confounded")
_MODELS = ("tree", "logistic")
_GREY_FEATURES = ("histogram", "brightness_contrast")
_SETTINGS_FEATURES = ("settings", "focus", "settings_without_focus")


@dataclass(frozen=True)
class ConfoundingRow:
    """One line of the confounding table; scores are balanced accuracies of the better model.

    Parameters
    ----------
    features
        What was predicted from.
    target
        What was predicted.
    chance
        Balanced accuracy of guessing.
    by_file, by_area, by_mosaic, by_session
        Scores; None where the data have too few groups.
    bound
        Score that guessing stays below, for each way of splitting (binomial over groups).
    models
        Scores of each model, by way of splitting.
    strictest
        Way of splitting that the verdict rests on.
    verdict
        ``confounded``, ``partly confounded``, ``session-bound`` (predicted in other regions of the
        same mosaics, but not in other fields of view or sessions) or ``not detectable``.
    meaning
        The verdict in plain words.
    """

    features: str
    target: str
    chance: float
    by_file: float | None
    by_area: float | None
    by_mosaic: float | None
    by_session: float | None
    bound: dict[str, float | None]
    models: dict[str, dict[str, float | None]]
    strictest: str
    verdict: str
    meaning: str


def tabulate_confounding(
    manifest: pd.DataFrame, bands: pd.DataFrame, grey: pd.DataFrame, params: AuditParams
) -> list[dict[str, Any]]:
    """Fill the confounding table.

    Parameters
    ----------
    manifest
        With `frame_id` and `sidecar_json`.

    Returns
    -------
    list of dict
        A `ConfoundingRow` per kind of feature and target, made of JSON types; empty if there is
        but one class.
    """
    features = _collect_features(manifest, bands, grey)
    targets = [name for name in TARGETS if bands[name].nunique() > 1]
    jobs = [(kind, target) for kind in features for target in targets]
    level = 1 - (1 - params.confidence) / max(1, len(jobs))
    folds = {target: _draw_folds(bands, target, params) for target in targets}
    with threadpool_limits(1, "blas"):  # threads cost more than these small fits
        rows = [
            _fill_row(
                kind, target, features[kind], bands, folds[target], level=level, params=params
            )
            for kind, target in tqdm(jobs, desc="confounding table", disable=None, leave=False)
        ]
    return [asdict(row) for row in rows]


def summarise_confounding(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum the table up.

    Returns
    -------
    dict
        `acquisition` (the strongest verdict on class from settings), `grey_levels` (from grey
        levels), `identifiable` (whether every class has two sessions or more) and `meaning`.
    """
    if not rows:
        meaning = "one class only: there is nothing to be confounded with"
        return {
            "acquisition": "not applicable",
            "grey_levels": "not applicable",
            "identifiable": False,
            "meaning": meaning,
        }
    about_class = [row for row in rows if row["target"] == rows[0]["target"]]
    acquisition = [r["verdict"] for r in about_class if r["features"] in _SETTINGS_FEATURES]
    grey = [r["verdict"] for r in about_class if r["features"] not in _SETTINGS_FEATURES]
    identifiable = about_class[0]["by_session"] is not None
    verdict = {
        "acquisition": max(acquisition, key=VERDICTS.index) if acquisition else "not applicable",
        "grey_levels": max(grey, key=VERDICTS.index),
        "identifiable": identifiable,
    }
    return {**verdict, "meaning": _explain_summary(verdict)}


def _explain_summary(verdict: dict[str, Any]) -> str:
    texts = {
        "confounded": "class and acquisition are confounded: settings alone predict the class",
        "partly confounded": "class and acquisition are partly confounded: settings alone "
        "predict the class in part",
        "session-bound": "settings separate the sessions, and with them the class in regions of "
        "the same session, but not the class in other sessions",
        "not detectable": "no confound of class and acquisition settings is detectable",
        "not applicable": "no sidecar settings to search for a confound",
    }
    text = texts[verdict["acquisition"]]
    if not verdict["identifiable"]:
        text += (
            "; not every class has two sessions, so how much of a score is the material and how "
            "much the session cannot be identified from these data"
        )
    return text


def _collect_features(
    manifest: pd.DataFrame, bands: pd.DataFrame, grey: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    settings = read_settings(manifest).set_index(manifest["frame_id"])
    of_bands = settings.loc[bands["frame_id"]].set_index(bands.index).dropna(axis=1, how="all")
    focus = [name for name in focus_columns(settings) if name in of_bands]
    main_focus = [name for name in focus if name.rpartition("|")[2].lower() == "focus"][:1]
    features = {
        "settings": of_bands,
        "focus": of_bands[main_focus],
        "settings_without_focus": of_bands.drop(columns=focus),
        "histogram": grey.drop(columns=["mean", "std"]),
        "brightness_contrast": grey[["mean", "std"]],
    }
    return {name: table for name, table in features.items() if table.shape[1]}


def _fill_row(
    kind: str,
    target: str,
    features: pd.DataFrame,
    bands: pd.DataFrame,
    folds: Mapping[str, Folds],
    *,
    level: float,
    params: AuditParams,
) -> ConfoundingRow:
    truth = bands[target].to_numpy(dtype=object)
    chance = 1 / len(set(truth))
    models: dict[str, dict[str, float | None]] = {}
    best: dict[str, float | None] = {}
    bounds: dict[str, float | None] = {}
    for scheme, column in SCHEMES.items():
        scores = {
            m: _score(m, features.to_numpy(), truth, folds[scheme], params.seed) for m in _MODELS
        }
        models[scheme] = scores
        best[scheme] = max((score for score in scores.values() if score is not None), default=None)
        # Frames of one band are one draw, so files are not counted one by one.
        independent = bands["band"] if scheme == "by_file" else bands[column]
        guess = float(binom.ppf(level, independent.nunique(), chance)) / independent.nunique()
        bounds[scheme] = guess if best[scheme] is not None else None
    verdict, strictest = _evaluate(best, bounds, chance, params.strong_fraction)
    return ConfoundingRow(
        features=kind,
        target=target,
        chance=chance,
        by_file=best["by_file"],
        by_area=best["by_area"],
        by_mosaic=best["by_mosaic"],
        by_session=best["by_session"],
        bound=bounds,
        models=models,
        strictest=strictest,
        verdict=verdict,
        meaning=_explain(f"{kind} and {target}", verdict, strictest, best, chance),
    )


def _evaluate(
    best: dict[str, float | None],
    bounds: dict[str, float | None],
    chance: float,
    strong_fraction: float,
) -> tuple[str, str]:
    """Decide by the strictest way of splitting that the data allow, then by area."""
    known = [scheme for scheme in SCHEMES if best[scheme] is not None]
    if not known:
        return "not detectable", "none"
    strictest = known[-1]
    beaten = {scheme: (best[scheme] or 0.0) > (bounds[scheme] or 0.0) for scheme in known}
    if beaten[strictest]:
        strong = chance + strong_fraction * (1 - chance)
        part = "confounded" if (best[strictest] or 0.0) >= strong else "partly confounded"
        return part, strictest
    return ("session-bound" if beaten.get("by_area") else "not detectable"), strictest


def _explain(
    pair: str, verdict: str, strictest: str, best: dict[str, float | None], chance: float
) -> str:
    if strictest == "none":
        return f"{pair}: too small an imaged area to decide"
    where = {
        "by_file": "in other files",
        "by_area": "in other regions of the same mosaics",
        "by_mosaic": "in other fields of view",
        "by_session": "in other sessions",
    }
    text = f"{pair}: {verdict}; {best[strictest]:.2f} {where[strictest]}"
    if verdict == "session-bound":
        text += f", but {best['by_area']:.2f} {where['by_area']}"
    text += f", {chance:.2f} by chance"
    if verdict != "not detectable" and pair.partition(" ")[0] in _GREY_FEATURES:
        text += "; grey levels may follow the material as well as the exposure"
    if strictest != "by_session":
        text += "; not identifiable across sessions, for want of a second one"
    return text


def _draw_folds(bands: pd.DataFrame, target: str, params: AuditParams) -> dict[str, Folds]:
    """Draw the folds of each way of splitting; none where something has but one group."""
    truth = bands[target].to_numpy(dtype=object)
    drawn: dict[str, Folds] = {}
    for scheme, column in SCHEMES.items():
        groups = bands[column].to_numpy(dtype=object)
        fewest = int(pd.Series(groups).groupby(truth).nunique().min())
        if fewest < 2:
            drawn[scheme] = []
            continue
        folds = StratifiedGroupKFold(
            min(params.n_folds, fewest), shuffle=True, random_state=params.seed
        )
        drawn[scheme] = list(folds.split(truth, truth, groups))
    return drawn


def _score(
    model: str,
    features: NDArray[np.float64],
    truth: NDArray[np.object_],
    folds: Folds,
    seed: int,
) -> float | None:
    """Balanced accuracy over all folds together; None without folds."""
    if not folds:
        return None
    predicted = np.empty_like(truth)
    for train, test in folds:
        if len(set(truth[train])) == 1:
            predicted[test] = truth[train][0]
            continue
        fitted = _build_model(model, seed).fit(features[train], truth[train])
        predicted[test] = fitted.predict(features[test])
    return float(balanced_accuracy_score(truth, predicted))


def _build_model(model: str, seed: int) -> Pipeline:
    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    if model == "tree":
        return make_pipeline(
            fill, DecisionTreeClassifier(class_weight="balanced", random_state=seed)
        )
    regression = LogisticRegression(max_iter=5000, tol=1e-3, class_weight="balanced")
    return make_pipeline(fill, StandardScaler(), regression)
