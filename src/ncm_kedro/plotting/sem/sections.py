"""Sections of the SEM page on data, split, training, scores and reliability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ncm_kedro.plotting.report import Section
from ncm_kedro.plotting.sem.page import SemPage, write_interval

_SCORES = {
    "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "macro_f1": "macro F1",
}  # fmt: skip
_ROLES = ("class", "composition", "state")
_AREA_COLUMNS = {
    "class": "class",
    "n_frames": "frames",
    "n_mosaics": "mosaics",
    "area_mm2": "unique ground (mm²)",
    "fields_of_view": "in fields of view",
    "repeats": "shown how often",
}
_MAX_ERROR_LENGTH = 80
_CAVEAT = (
    "Intervals come from resampling disjoint areas of the same electrodes in the same sessions. "
    "Without replicate electrodes they say nothing about another electrode or session: how much "
    "of a score is chemistry and how much is acquisition, the confounding table bounds."
)
_LEAK = (
    "The split is by file, as in the paper: neighbouring frames overlap, so test crops show "
    "ground that was trained on. These scores are too high."
)


def list_compared_models(test_report: Mapping[str, Any]) -> list[str]:
    """List who was scored on the test split, the network first.

    Parameters
    ----------
    test_report
        Report of the test.
    """
    return [
        name for name, value in test_report.items() if isinstance(value, dict) and "class" in value
    ]


def describe_frames(page: SemPage) -> Section:
    """Count frames and the ground that they show, and say why frames were left out.

    Parameters
    ----------
    page
        What the page is made of.
    """
    audit = page.results["sem_audit"]
    reasons = pd.Series(
        [row["reason"].split(":")[0] for row in audit["excluded"]], dtype="str"
    ).value_counts()
    areas = pd.DataFrame(audit["areas"]["classes"])[list(_AREA_COLUMNS)].rename(
        columns=_AREA_COLUMNS
    )
    excluded_frames = reasons.rename_axis("reason").reset_index(name="frames")
    return Section(
        "Frames and unique ground",
        text=[
            f"{audit['frames']['total']} frames, {audit['frames']['excluded']} excluded. Nothing "
            "is deleted: every excluded frame stands in the manifest with its reason."
        ],
        warnings=audit["warnings"],
        tables=[
            *page.table("Unique ground per class", areas, "sem_audit"),
            *page.table("Excluded frames by reason", excluded_frames, "sem_audit"),
        ],
        figures=page.figure("Frames and unique ground per class", "sem_audit_figure_areas"),
    )


def describe_confounding(page: SemPage) -> Section:
    """Say how well classes can be told without looking at particles.

    Parameters
    ----------
    page
        What the page is made of.
    """
    return Section(
        "Could the classes be told without looking at particles?",
        text=[page.results["sem_audit"]["verdict"]["meaning"]],
        figures=page.figure(
            "Balanced accuracy from sidecar settings, grey histogram, brightness and contrast",
            "sem_audit_figure_confounding",
        ),
    )


def describe_crops(page: SemPage) -> Section:
    """Count crops and areas of each split.

    Parameters
    ----------
    page
        What the page is made of.
    """
    report = page.results["sem_crop_report"]
    rows = [
        {
            "class": name,
            **{
                f"{split} {key}": values[key]
                for split, values in entry["splits"].items()
                for key in ("drawn", "areas")
            },
        }
        for name, entry in report["classes"].items()
    ]
    counts = "Crops drawn and disjoint areas that they lie in"
    return Section(
        "Crops and splits",
        text=[f"Split by {report['split_by']}, crops of {report['size_px']} px."],
        warnings=report["warnings"],
        tables=page.table(counts, rows, "sem_crop_report"),
        figures=page.figure("Where the crops of each split lie", "sem_crops_figure"),
    )


def describe_training(page: SemPage) -> Section:
    """Describe search and training.

    Parameters
    ----------
    page
        What the page is made of.
    """
    trials, curves = page.results["sem_trials"], page.results["sem_learning_curves"]
    searched = (
        "The search was off: settings are those of the configuration."
        if trials.empty
        else f"{len(trials)} settings were tried; the best on validation was trained in full."
    )
    found = [] if trials.empty else page.figure("Trials of the search", "sem_test_figure_trials")
    return Section(
        "Search and training",
        text=[searched, f"{len(curves)} epochs, {curves['seconds'].sum() / 60:.1f} minutes."],
        tables=page.table("Trials of the search", _shorten_errors(trials), "sem_trials"),
        figures=[
            *found,
            *page.figure("Loss and accuracy per epoch", "sem_test_figure_learning_curves"),
        ],
    )


def describe_scores(page: SemPage) -> Section:
    """Set the network beside the baseline on the test split.

    Parameters
    ----------
    page
        What the page is made of.
    """
    report, promotion = page.results["sem_test_report"], page.results["sem_promotion"]
    compared_models = list_compared_models(report)
    network = report[compared_models[0]]
    rows = [
        {
            "model": name,
            "of": role,
            **{label: write_interval(report[name][role][key]) for key, label in _SCORES.items()},
        }
        for name in compared_models
        for role in _ROLES
    ]
    verdict = "promoted to production" if promotion["promoted"] else "refused production"
    return Section(
        "Test scores beside the baseline",
        text=[
            f"{network['n_crops']} test crops in {network['n_areas']} disjoint areas.",
            f"The network was {verdict}: {'; '.join(promotion['reasons'])}.",
        ],
        warnings=[*([_LEAK] if report["leaking"] else []), _CAVEAT],
        tables=page.table(
            f"Scores with {network['confidence_level']:.0%} intervals over areas",
            rows,
            "sem_test_report",
        ),
        figures=[
            *page.figure("Network and baseline with their intervals", "sem_test_figure_scores"),
            *page.figure("Confusion matrix of the test crops", "sem_test_figure_confusion"),
            *page.figure("Scores per class", "sem_test_figure_classes"),
        ],
    )


def describe_reliability(page: SemPage) -> Section:
    """Describe calibration, sets of classes and the flag of unknown samples.

    Parameters
    ----------
    page
        What the page is made of.
    """
    report = page.results["sem_test_report"]
    sets, flag = report["sets"], report["flag"]
    error = report[list_compared_models(report)[0]]["calibration"]["expected_error"]
    calibrated = (
        f"Probabilities were calibrated by one temperature ({report['temperature']:.2f}); on the "
        f"test split they are off by {error:.3f} on average (expected calibration error)."
    )
    return Section(
        "Does it know what it does not know?",
        text=[calibrated, _describe_sets(sets), *_describe_flag(flag)],
        warnings=[*sets["notes"], *flag["notes"]],
        figures=[
            *page.figure("Reliability after calibration", "sem_test_figure_reliability"),
            *page.figure(
                "Coverage and size of the prediction sets", "sem_test_figure_prediction_sets"
            ),
            *page.figure("OODScores of known and out-of-distribution crops", "sem_test_figure_ood"),
        ],
    )


def _shorten_errors(trials: pd.DataFrame) -> pd.DataFrame:
    """Keep the beginning of what trials failed with; none failed, no column."""
    if "error" not in trials or trials["error"].isna().all():
        return trials.drop(columns="error", errors="ignore")
    return trials.assign(error=trials["error"].str.slice(0, _MAX_ERROR_LENGTH))


def _describe_sets(sets: Mapping[str, Any]) -> str:
    return (
        f"Prediction sets are to hold the true class of {sets['target']:.0%} of crops. On the test "
        f"areas they hold {write_interval(sets['coverage'])}, with "
        f"{sets['mean_size']['value']:.2f} classes on average; {sets['singletons']['value']:.0%} "
        "name one class. Areas weigh alike. The most probable class is always in the set, so a "
        "good network covers more than it promises. One that does worse on the test ground than "
        "on the validation ground covers less: the promise is for ground like that of the "
        "validation split."
    )


def _describe_flag(flag: Mapping[str, Any]) -> list[str]:
    promise = (
        f"The OOD flag is set to alarm on {flag['nominal_false_alarm_rate']:.1%} of the "
        "validation crops; "
        "on unseen regions of known classes it alarms on no more than "
        f"{flag['guaranteed_false_alarm_rate']:.1%}, and on "
        f"the test areas on {write_interval(flag['false_alarms'])}."
    )
    if flag["auroc"] is None:
        return [
            promise,
            "No frame was set aside as another material, so nothing is known about how well the "
            "flag finds one.",
        ]
    return [
        promise,
        f"{flag['n_ood_frames']} frames set aside on ingest as another material "
        f"({flag['n_ood']} crops, {flag['n_ood_areas']} areas): AUROC "
        f"{write_interval(flag['auroc']['score'])}; {flag['detected']:.0%} of their crops and "
        f"{flag['n_ood_frames_flagged']} of the frames are flagged.",
    ]
