"""Report page of the SEM pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.plotting.report import list_rows, render_page
from ncm_kedro.plotting.sem.attention import MAP_NAMES
from ncm_kedro.provenance import RunRecord, list_runs
from ncm_kedro.sem.audit.usage import count_exclusions

STUDIES, STUDY_FIGURES = "sem_study_reports", "sem_study_figures"
PIPELINE_RESULTS = (
    "sem_audit",
    "sem_audit_figure_areas",
    "sem_audit_figure_confounding",
    "sem_crop_report",
    "sem_crops_figure_splits",
    "sem_trials",
    "sem_search_figure_trials",
    "sem_learning_curves",
    "sem_training_figure_learning_curves",
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
    "sem_map_check_figure_sanity",
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
_ROLES = ("class", "composition", "state")
_MAX_ERROR_LENGTH = 80


def render_sem_report(results: Mapping[str, Any], lineage: Mapping[str, RunRecord]) -> str:
    """Render all results from SEM frames as one self-contained HTML page.

    Parameters
    ----------
    results
        By name, all of `PIPELINE_RESULTS`, any of `OPTIONAL_RESULTS`: reports as they are stored,
        tables, and figures as the bytes of their PNG files; the studies are two mappings from
        study to report and to figure.
    lineage
        The run that made each of them, by the same names; a study is ``sem_study_reports/<study>``.
    """
    known = {**dict.fromkeys(OPTIONAL_RESULTS), **results}
    audit, report = known["sem_audit"], known["sem_test_report"]
    models = [name for name, part in report.items() if isinstance(part, dict) and "class" in part]
    predictions = known["sem_test_predictions"]
    wrong = predictions[predictions["class"] != predictions["predicted"]]
    return render_page(
        "sem.html.j2",
        results=known,
        lineage=lineage,
        is_older=lambda name, than: _is_older(lineage.get(name), lineage.get(than)),
        test=report,
        models=models,
        scored=[(name, role) for name in models for role in _ROLES],
        areas=pd.DataFrame(audit["areas"]["classes"]),
        exclusions=count_exclusions(audit["excluded"]),
        trials=_shorten_errors(known["sem_trials"]),
        errors=list_rows(wrong.sort_values("probability", ascending=False, kind="stable")),
        map_names=MAP_NAMES,
        studies=[
            (
                name,
                study,
                not all(row.get("skipped") for row in study["rows"]),
                [row for row in study["rows"] if row.get("balanced_accuracy") is not None],
            )
            for name, study in (known[STUDIES] or {}).items()
        ],
        runs=list_runs({name: lineage.get(name) for name in _list_shown(known)}),
    )


def render_sem_audit(audit: Mapping[str, Any], figures: Mapping[str, Figure]) -> str:
    """Render what was read, what was not and why as one self-contained HTML page.

    Parameters
    ----------
    audit
        What `ncm_kedro.sem.audit.audit.audit_frames` returned.
    figures
        ``areas.png``, ``confounding.png`` and ``flagged.png``.
    """
    return render_page(
        "sem_audit.html.j2",
        audit=audit,
        figures=figures,
        areas=pd.DataFrame(audit["areas"]["classes"]),
        exclusions=count_exclusions(audit["excluded"]),
        excluded=pd.DataFrame(audit["excluded"]),
        pixel_sizes=pd.DataFrame(audit["pixel_sizes"]),
    )


def _is_older(record: RunRecord | None, other: RunRecord | None) -> bool:
    """Return whether a result was made before another one, in an earlier run."""
    if record is None or other is None or record.at >= other.at:
        return False
    return record.run_id is None or record.run_id != other.run_id


def _shorten_errors(trials: pd.DataFrame) -> pd.DataFrame:
    """Truncate the errors of failed trials; no column where none failed."""
    if "error" not in trials or trials["error"].isna().all():
        return trials.drop(columns="error", errors="ignore")
    return trials.assign(error=trials["error"].str.slice(0, _MAX_ERROR_LENGTH))


def _list_shown(results: Mapping[str, Any]) -> list[str]:
    """List the results that are there, a study by its partition."""
    names = [name for name, value in results.items() if value is not None]
    parts = [f"{name}/{part}" for name in (STUDIES, STUDY_FIGURES) for part in results[name] or {}]
    return [name for name in names if name not in (STUDIES, STUDY_FIGURES)] + parts
