"""Sections of the SEM page on studies, and the list of runs behind the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ncm_kedro.plotting.report import Section
from ncm_kedro.plotting.sem.page import (
    OTHER_CROPS,
    STUDIES,
    STUDY_FIGURES,
    SemPage,
    format_command,
    write_interval,
)
from ncm_kedro.provenance import list_runs


def describe_studies(page: SemPage) -> list[Section]:
    """Show each study that was run in a section of its own.

    Parameters
    ----------
    page
        What the page is made of.
    """
    if not page.has(STUDIES):
        return [Section("Studies", text=[format_command("sem_studies", "What settings are worth")])]
    return [_describe_study(page, name) for name in page.results[STUDIES]]


def describe_runs(page: SemPage) -> Section:
    """List the run that made each result of the page.

    Parameters
    ----------
    page
        What the page is made of.
    """
    kept = [name for name in page.results if page.has(name)]
    names = [name for name in kept if name not in (STUDIES, STUDY_FIGURES)]
    for partitioned in (STUDIES, STUDY_FIGURES):
        names += [f"{partitioned}/{part}" for part in page.results.get(partitioned) or {}]
    runs = list_runs({name: page.lineage.get(name) for name in names})
    return Section(
        "The runs behind this page",
        text=[
            "MLflow holds parameters, data hashes and artifacts of each run. Where the run is not "
            "known, the result was made before runs were recorded, or brought from elsewhere."
        ],
        tables=[("Which run made what", pd.DataFrame(runs))],
    )


def _describe_study(page: SemPage, name: str) -> Section:
    report = page.results[STUDIES][name]
    heading, answer = f"Study: {report['title']}", page.cite(report["answer"], f"{STUDIES}/{name}")
    if all(row.get("skipped") for row in report["rows"]):
        return Section(heading, text=[report["question"], answer])
    picture = (page.results.get(STUDY_FIGURES) or {}).get(name)
    source = f"{STUDY_FIGURES}/{name}"
    figures = [] if picture is None else [(page.cite(report["title"], source), picture)]
    rows = [
        {
            "point": row["point"],
            "model": row["model"],
            "balanced accuracy": write_interval({**row, "value": row["balanced_accuracy"]}),
            "test areas": row["n_test_areas"],
        }
        for row in report["rows"]
        if row.get("balanced_accuracy") is not None
    ]
    return Section(
        heading,
        text=[
            report["question"],
            answer,
            *(f"Not run: {_format_reason(row)}" for row in report["skipped"]),
            *report["notes"],
        ],
        warnings=page.warn_older(f"{STUDIES}/{name}", "sem_crop_report", OTHER_CROPS),
        tables=page.table("Scores on the test split", rows, f"{STUDIES}/{name}"),
        figures=figures,
    )


def _format_reason(row: Mapping[str, Any]) -> str:
    return ": ".join(str(value) for value in row.values() if value)
