"""Sections of the SEM page on explanation, transfer, new electrodes and experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ncm_kedro.plotting.report import Section
from ncm_kedro.plotting.sem.attention import MAP_NAMES
from ncm_kedro.plotting.sem.page import OTHER_CROPS, SemPage, format_command, write_interval

_SHOWN_ERRORS = 10
_OTHER_NETWORK = "unless nothing has changed since, they explain another network"
_OTHER_MODEL = "they are those of the model that was in production then"


def describe_errors(page: SemPage) -> Section:
    """List the most confident errors, and show the maps of their two leading classes.

    Parameters
    ----------
    page
        What the page is made of.
    """
    predictions, figure = page.results["sem_test_predictions"], "sem_explain_figure_errors"
    wrong = predictions[predictions["class"] != predictions["predicted"]]
    rows = [
        {
            "crop": row["crop_id"],
            "true class": row["class"],
            "predicted": row["predicted"],
            "its probability": row["probability"],
            "of the true class": row[f"p_{row['class']}"],
        }
        for row in wrong.nlargest(_SHOWN_ERRORS, "probability").to_dict("records")
    ]
    text = [f"{len(wrong)} of {len(predictions)} test crops are classified wrongly."]
    if not page.has(figure):
        text.append(format_command("sem_explain", "Grad-CAM of errors"))
    return Section(
        "Errors and where the network looked",
        text=text,
        warnings=page.warn_older(figure, "sem_test_predictions", _OTHER_NETWORK),
        tables=page.table("Most confident errors", rows, "sem_test_predictions"),
        figures=page.figure(
            "Errors: crop, Grad-CAM of the two leading classes, all probabilities", figure
        ),
    )


def describe_attention(page: SemPage) -> Section:
    """Say how much of the maps lies on particle boundaries, and whether maps can be believed.

    Parameters
    ----------
    page
        What the page is made of.
    """
    heading = "Does the network look at particle boundaries?"
    if not page.has("sem_attention_report"):
        return Section(heading, text=[format_command("sem_explain", "Maps against controls")])
    report = page.results["sem_attention_report"]
    check = page.results.get("sem_map_check") or {"maps": {}}
    rows = [
        {
            "map": MAP_NAMES.get(kind, kind),
            "on / off boundaries": write_interval(found["ratio"]),
            "placed at random": write_interval(found["control"]),
            "maps of other areas": write_interval(found["other_crops"]),
            "shuffled weights": write_interval(found["untrained"]),
            "p": "not measured" if found["p"] is None else f"{found['p']:.3g}",
        }
        for kind, found in report["maps"].items()
    ]
    return Section(
        heading,
        text=[
            f"{report['crops']} random test crops of {report['areas']} areas; the band that counts "
            f"as boundary is {report['band_um']:g} µm wide and covers "
            f"{report['boundary_fraction']:.0%} of the area. 1 is no preference; p is for a larger "
            "ratio than that of the same map placed at random."
        ],
        warnings=[
            *page.warn_older("sem_attention_report", "sem_test_report", _OTHER_NETWORK),
            *(
                f"{MAP_NAMES.get(kind, kind)}: {found['warning']}."
                for kind, found in check["maps"].items()
                if found["warning"]
            ),
        ],
        tables=page.table(
            "Mean attribution on boundaries over that off them, beside controls",
            rows,
            "sem_attention_report",
        ),
        figures=[
            *page.figure(
                "Ratios by control, region and class (all random crops)",
                "sem_explain_figure_boundaries",
            ),
            *page.figure(
                "Most confident correct crop of each class: image, Grad-CAM, guided Grad-CAM",
                "sem_explain_figure_classes",
            ),
            *page.figure(
                "Maps while the network forgets layer by layer", "sem_explain_figure_sanity"
            ),
        ],
    )


def summarise_transfer(report: Mapping[str, Any]) -> str:
    """Say in one line what is left of the score.

    Parameters
    ----------
    report
        Report of the transfer study.
    """
    return "; ".join(
        f"{row['head']} with a {row['kind']} left out {row['balanced_accuracy']:.2f} "
        f"(seen: {_format_share(row['in_session'])}, guessing: {row['chance']:.2f}, {row['model']})"
        for row in report["summary"]
    )


def describe_transfer(page: SemPage) -> Section:
    """Show what is left of the score where training has never seen a state, composition, session.

    Parameters
    ----------
    page
        What the page is made of.
    """
    heading = "On what training never saw"
    if not page.has("sem_transfer_report"):
        return Section(
            heading, text=[format_command("sem_transfer", "The honest proxy for a new electrode")]
        )
    report = page.results["sem_transfer_report"]
    rows = [
        {
            "left out": f"{row['kind']} {row['held_out'].removeprefix(row['kind']).strip()}",
            "target": row["head"],
            "model": row["model"],
            "balanced accuracy": write_interval({**row, "value": row["balanced_accuracy"]}),
            "where training saw it": row["in_session"],
            "guessing": row["chance"],
            "areas": row["n_test_areas"],
        }
        for row in report["rows"]
    ]
    return Section(
        heading,
        text=[
            *report["notes"],
            *(f"Not left out: {row['held_out']}: {row['reason']}." for row in report["skipped"]),
        ],
        warnings=page.warn_older("sem_transfer_report", "sem_crop_report", OTHER_CROPS),
        tables=page.table("Scores of what was left out", rows, "sem_transfer_report"),
        figures=page.figure(
            "What was left out, beside the score where training saw it",
            "sem_transfer_figure_scores",
        ),
    )


def describe_additives(page: SemPage) -> Section:
    """Show the production model on electrodes that it never saw.

    Parameters
    ----------
    page
        What the page is made of.
    """
    heading = "New electrodes"
    if not page.has("additive_report"):
        return Section(
            heading,
            text=[format_command("evaluate_additives", "The production model on new electrodes")],
        )
    report = page.results["additive_report"]
    scored = {"overall": "both", "composition_accuracy": "composition", "state_accuracy": "state"}
    rows = [
        {
            "additive": name or "none",
            "areas": part["n_areas"],
            **{label: write_interval(part[score]) for score, label in scored.items()},
            "flagged unknown": write_interval(part["unknown"]),
            "sets hold the truth": write_interval(part["coverage"]),
        }
        for name, part in report["pooled"].items()
    ]
    aside = (
        [f"{len(report['rejections'])} frames could not be used."] if report["rejections"] else []
    )
    problem = [report["reference_problem"]] if report["reference_problem"] else []
    return Section(
        heading,
        text=[f"Model: {report['model']}, crops of {report['crop_px']} px.", *aside],
        warnings=[
            *page.warn_older("additive_report", "sem_promotion", _OTHER_MODEL),
            *problem,
            *report["notes"],
        ],
        tables=page.table("Accuracy over all conditions, by additive", rows, "additive_report"),
        figures=[
            *page.figure("Accuracy per condition", "additive_figure_accuracy"),
            *page.figure("Mean probability of every class", "additive_figure_profiles"),
            *page.figure(
                "Typical crops with Grad-CAM, without and with additive", "additive_figure_maps"
            ),
        ],
    )


def describe_experts(page: SemPage) -> Section:
    """Set experts beside the model.

    Parameters
    ----------
    page
        What the page is made of.
    """
    heading = "Experts on the same frames"
    if not page.has("survey_summary"):
        return Section(heading, text=[format_command("expert_survey", "A quiz for experts")])
    summary = page.results["survey_summary"]
    scored = {
        f"best of {summary['experts']} experts": summary["best_expert"],
        "mean of the experts": (summary["mean_of_experts"] or {}).get("class"),
        "model, same pictures": (summary["model"] or {}).get("class"),
        "guessing": {"value": summary["chance"]["class"]},
        "best expert of Oh et al. 2024, other frames": {
            "value": summary["published"]["best_accuracy"]
        },
        "mean expert of Oh et al. 2024, other frames": {
            "value": summary["published"]["mean_accuracy"]
        },
    }
    rows = [
        {"who": who, "accuracy": write_interval(entry)} for who, entry in scored.items() if entry
    ]
    return Section(
        heading,
        text=[f"{summary['pictures']} pictures of {summary['classes']} classes."],
        warnings=[
            *page.warn_older("survey_summary", "sem_promotion", _OTHER_MODEL),
            *summary["caveats"],
            *summary["what_next"],
        ],
        tables=page.table("Composition and state both right", rows, "survey_summary"),
        figures=page.figure("Experts beside the model", "survey_figure_scores"),
    )


def _format_share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"
