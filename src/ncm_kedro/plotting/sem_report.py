"""The report page of the SEM road."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ncm_kedro.plotting.learning import (
    plot_class_report,
    plot_confusion,
    plot_reliability,
    plot_scores,
    plot_training_curves,
)
from ncm_kedro.plotting.report import Section, render_report
from ncm_kedro.plotting.sem_audit import plot_class_areas, plot_confounding, plot_mosaic_splits
from ncm_kedro.plotting.sem_safeguards import plot_prediction_sets, plot_unknown_scores

_SCORES = ("balanced_accuracy", "accuracy", "macro_f1")
_ROLES = {"class": "class", "composition": "composition", "state": "state"}
_CAVEAT = (
    "Intervals come from resampling disjoint areas of the same electrodes in the same sessions. "
    "Without replicate electrodes they say nothing about another electrode or session: how much "
    "of a score is chemistry and how much is acquisition, the confounding table bounds."
)


def render_sem_report(
    *,
    audit: Mapping[str, Any],
    crop_report: Mapping[str, Any],
    test_report: Mapping[str, Any],
    promotion: Mapping[str, Any],
    curves: pd.DataFrame,
    trials: pd.DataFrame,
    manifest: pd.DataFrame,
    crops: pd.DataFrame,
) -> str:
    """Render what the SEM road found as one self-contained HTML page.

    Parameters
    ----------
    audit, crop_report, test_report, promotion
        Reports of the stages, as they are stored.
    curves, trials
        A row per epoch; a row per trial of the search (may be empty).
    manifest, crops
        Frame table and crop table.
    """
    rivals = [
        name for name, value in test_report.items() if isinstance(value, dict) and "class" in value
    ]
    summary = (
        f"{test_report['model']} on {audit['frames']['kept']} frames of "
        f"{len(audit['frames']['classes'])} classes ({audit['frames']['excluded']} excluded). "
        f"Balanced accuracy on the test split: "
        + "; ".join(f"{name} {_interval(test_report[name]['class'])}" for name in rivals)
        + "."
    )
    return render_report(
        "Composition and ageing state from SEM frames",
        summary,
        [
            _describe_test(test_report, promotion, rivals),
            _describe_safeguards(test_report["sets"], test_report["flag"]),
            _describe_confounding(audit),
            _describe_frames(audit),
            _describe_crops(crop_report, manifest, crops),
            _describe_training(curves, trials),
        ],
    )


def _describe_test(
    test_report: Mapping[str, Any], promotion: Mapping[str, Any], rivals: list[str]
) -> Section:
    rows = [
        {"model": name, "of": role, **{s: _interval(test_report[name][role], s) for s in _SCORES}}
        for name in rivals
        for role in _ROLES
    ]
    network = test_report[rivals[0]]
    names = network["class"]["names"]
    warnings = [_CAVEAT]
    if test_report["leaking"]:
        warnings.insert(
            0,
            "The split is by file, as in the paper: neighbouring frames overlap, so test crops "
            "show ground that was trained on. These scores are too high.",
        )
    verdict = "promoted to production" if promotion["promoted"] else "refused production"
    return Section(
        "Test scores",
        text=[
            f"{network['n_crops']} test crops in {network['n_areas']} disjoint areas; expected "
            f"calibration error {network['calibration']['expected_error']:.3f} at temperature "
            f"{test_report['temperature']:.2f}.",
            f"The network was {verdict}: {'; '.join(promotion['reasons'])}.",
        ],
        warnings=warnings,
        tables=[("Scores with 95 % intervals over areas", pd.DataFrame(rows))],
        figures=[
            (
                "Network and baseline with their intervals",
                plot_scores({name: test_report[name] for name in rivals}, 1.0 / len(names)),
            ),
            (
                "Confusion matrix of the test crops",
                plot_confusion(network["class"]["confusion"], names, "Test split"),
            ),
            ("Per class", plot_class_report(network["class"], "Test split")),
            (
                "Reliability after calibration",
                plot_reliability(network["calibration"], test_report["temperature"]),
            ),
        ],
    )


def _describe_safeguards(sets: Mapping[str, Any], flag: Mapping[str, Any]) -> Section:
    coverage, alarms = _interval(sets, "coverage"), _interval(flag, "false_alarms")
    text = [
        f"Prediction sets are to hold the true class of {sets['target']:.0%} of crops. On the test "
        f"areas they hold {coverage}, with {sets['mean_size']['value']:.2f} classes on average; "
        f"{sets['singletons']['value']:.0%} name one class. Areas weigh alike. The most probable "
        "class is always in the set, so a good network covers more than it promises. One that does "
        "worse on the test ground than on the validation ground covers less: the promise is for "
        "ground like that of the validation split.",
        f"The unknown-sample flag may alarm on {flag['promised']:.1%} of crops of known classes; "
        f"on the test areas it alarms on {alarms}.",
    ]
    if flag["auroc"] is None:
        text.append(
            "No frame was set aside as another material, so nothing is known about how well the "
            "flag finds one."
        )
    else:
        text.append(
            f"{flag['foreign_frames']} frames set aside on ingest as another material "
            f"({flag['n_foreign']} crops, {flag['n_foreign_areas']} areas): AUROC "
            f"{_interval(flag['auroc'], 'score')}; {flag['detected']:.0%} of their crops and "
            f"{flag['foreign_frames_flagged']} of the frames are flagged."
        )
    return Section(
        "Does it know what it does not know?",
        text=text,
        warnings=[*sets["notes"], *flag["notes"]],
        figures=[
            ("Coverage and size of the prediction sets", plot_prediction_sets(sets)),
            ("Strangeness of known and foreign crops", plot_unknown_scores(flag)),
        ],
    )


def _describe_confounding(audit: Mapping[str, Any]) -> Section:
    return Section(
        "Could the classes be told without looking at particles?",
        text=[audit["verdict"]["meaning"]],
        figures=[
            (
                "Balanced accuracy from sidecar settings, grey histogram, brightness and contrast",
                plot_confounding(audit["confounding"]),
            )
        ],
    )


def _describe_frames(audit: Mapping[str, Any]) -> Section:
    reasons = pd.Series(
        [row["reason"].split(":")[0] for row in audit["excluded"]], dtype="str"
    ).value_counts()
    areas = pd.DataFrame(audit["areas"]["classes"])
    return Section(
        "Frames and unique ground",
        text=[
            f"{audit['frames']['total']} frames, {audit['frames']['excluded']} excluded. Nothing "
            "is deleted: every excluded frame stands in the manifest with its reason."
        ],
        warnings=audit["warnings"],
        tables=[
            ("Unique ground per class", areas),
            ("Excluded frames by reason", reasons.rename_axis("reason").reset_index(name="frames")),
        ],
        figures=[("Frames and unique ground per class", plot_class_areas(audit))],
    )


def _describe_crops(
    crop_report: Mapping[str, Any], manifest: pd.DataFrame, crops: pd.DataFrame
) -> Section:
    rows = [
        {
            "class": name,
            **{
                f"{split} {key}": values[key]
                for split, values in entry["splits"].items()
                for key in ("drawn", "areas")
            },
        }
        for name, entry in crop_report["classes"].items()
    ]
    return Section(
        "Crops and splits",
        text=[f"Split by {crop_report['split_by']}, crops of {crop_report['size_px']} px."],
        warnings=crop_report["warnings"],
        tables=[("Crops drawn and disjoint areas that they lie in", pd.DataFrame(rows))],
        figures=[("Where the crops of each split lie", plot_mosaic_splits(manifest, crops))],
    )


def _describe_training(curves: pd.DataFrame, trials: pd.DataFrame) -> Section:
    tables = [] if trials.empty else [("Trials of the search", trials)]
    return Section(
        "Training",
        text=[f"{len(curves)} epochs, {curves['seconds'].sum() / 60:.1f} minutes."],
        tables=tables,
        figures=[("Loss and accuracy per epoch", plot_training_curves(list_epochs(curves)))],
    )


def list_epochs(curves: pd.DataFrame) -> list[dict[str, float]]:
    """Return the rows of the learning curves as mappings of plain numbers."""
    return [{str(k): float(v) for k, v in row.items()} for row in curves.to_dict("records")]


def _interval(scores: Mapping[str, Any], score: str = "balanced_accuracy") -> str:
    entry = scores[score]
    return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
