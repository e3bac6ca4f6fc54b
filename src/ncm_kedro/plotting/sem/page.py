"""What the page of the SEM pipeline is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ncm_kedro.provenance import RunRecord, cite_run

STUDIES, STUDY_FIGURES = "sem_study_reports", "sem_study_figures"
PIPELINE_RESULTS = (
    "sem_audit",
    "sem_audit_figure_areas",
    "sem_audit_figure_confounding",
    "sem_crop_report",
    "sem_crops_figure",
    "sem_trials",
    "sem_test_figure_trials",
    "sem_learning_curves",
    "sem_test_figure_learning_curves",
    "sem_test_report",
    "sem_test_figure_scores",
    "sem_test_figure_confusion",
    "sem_test_figure_classes",
    "sem_test_figure_reliability",
    "sem_test_figure_prediction_sets",
    "sem_test_figure_ood",
    "sem_promotion",
    "sem_test_predictions",
)
"""What the page needs."""

OPTIONAL_RESULTS = (
    "sem_explain_figure_classes",
    "sem_explain_figure_errors",
    "sem_attention_report",
    "sem_explain_figure_boundaries",
    "sem_map_check",
    "sem_explain_figure_sanity",
    "sem_transfer_report",
    "sem_transfer_figure_scores",
    "additive_report",
    "additive_figure_accuracy",
    "additive_figure_profiles",
    "additive_figure_maps",
    "survey_summary",
    "survey_figure_scores",
    STUDIES,
    STUDY_FIGURES,
)
"""What the page shows where it is there."""

OTHER_CROPS = "unless nothing has changed since, it is about other crops"


@dataclass(frozen=True)
class SemPage:
    """What the page is made of; results have the names of their data sets.

    Attributes
    ----------
    results
        Reports, tables and the bytes of figures; None where the pipeline was not run.
    lineage
        The runs that made them, as far as they are known.
    """

    results: Mapping[str, Any]
    lineage: Mapping[str, RunRecord]

    def has(self, name: str) -> bool:
        """Tell whether a result is there."""
        return self.results.get(name) is not None

    def cite(self, text: str, name: str) -> str:
        """Write a caption that ends with the run that made a result."""
        return f"{text} [{cite_run(self.lineage.get(name))}]"

    def figure(self, text: str, name: str) -> list[tuple[str, bytes]]:
        """List a figure with its caption; nothing where it is not there."""
        return [(self.cite(text, name), self.results[name])] if self.has(name) else []

    def table(
        self, text: str, rows: pd.DataFrame | Sequence[Mapping[str, Any]], name: str
    ) -> list[tuple[str, pd.DataFrame]]:
        """List a table with its caption; nothing where it has no row."""
        table = pd.DataFrame(rows)
        return [(self.cite(text, name), table)] if len(table) else []

    def warn_older(self, name: str, than: str, meaning: str) -> list[str]:
        """Warn that a result was made before what it should go with, in an earlier run.

        Parameters
        ----------
        name, than
            The result, and what must not be younger.
        meaning
            What follows if anything has changed between the two.
        """
        mine, other = self.lineage.get(name), self.lineage.get(than)
        if mine is None or other is None or mine.at >= other.at:
            return []
        if mine.run_id is not None and mine.run_id == other.run_id:
            return []
        return [f"Made before the present {than} ({cite_run(other)}): {meaning}"]


def format_command(pipeline: str, what: str) -> str:
    """Say what makes a part of the page that is not there.

    Parameters
    ----------
    pipeline
        The pipeline that makes it.
    what
        What it would be.
    """
    return f"Not run yet. {what}: kedro run --pipelines {pipeline},sem_report"


def write_interval(entry: Mapping[str, float | None] | None) -> str:
    """Write a value with its interval, or that there is none.

    Parameters
    ----------
    entry
        `value`, `low` and `high`; any may be None or missing.
    """
    value = None if entry is None else entry.get("value", entry.get("accuracy"))
    if entry is None or value is None:
        return "not measured"
    low, high = entry.get("low"), entry.get("high")
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
