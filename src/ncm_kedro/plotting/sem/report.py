"""The report page of the SEM pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ncm_kedro.plotting.report import render_report
from ncm_kedro.plotting.sem.page import SemPage, write_interval
from ncm_kedro.plotting.sem.sections import (
    describe_confounding,
    describe_crops,
    describe_frames,
    describe_reliability,
    describe_scores,
    describe_training,
    list_compared_models,
)
from ncm_kedro.plotting.sem.sections_beyond import (
    describe_additives,
    describe_attention,
    describe_errors,
    describe_experts,
    describe_transfer,
    summarise_transfer,
)
from ncm_kedro.plotting.sem.sections_studies import describe_runs, describe_studies
from ncm_kedro.provenance import RunRecord


def render_sem_report(results: Mapping[str, Any], lineage: Mapping[str, RunRecord]) -> str:
    """Render what is known from SEM frames as one self-contained HTML page.

    Parameters
    ----------
    results
        By name, all of `PIPELINE_RESULTS`, any of `OPTIONAL_RESULTS`: reports as they are stored,
        tables, and figures as the bytes of their PNG files; the studies are two mappings from
        study to report and to figure.
    lineage
        The run that made each of them, by the same names; a study is ``sem_study_reports/<study>``.
    """
    page = SemPage(results, lineage)
    frames, report = results["sem_audit"]["frames"], results["sem_test_report"]
    level = report[list_compared_models(report)[0]]["confidence_level"]
    return render_report(
        "Composition and ageing state from SEM frames",
        f"{report['model']} on {frames['kept']} frames of "
        f"{len(frames['classes'])} classes ({frames['excluded']} more were left out). Numbers in "
        f"round brackets are {level:.0%} intervals over areas unless a caption says otherwise; "
        "square brackets name the run that made a table or figure.",
        [
            describe_frames(page),
            describe_confounding(page),
            describe_crops(page),
            describe_training(page),
            describe_scores(page),
            describe_reliability(page),
            describe_errors(page),
            describe_attention(page),
            describe_transfer(page),
            describe_additives(page),
            describe_experts(page),
            *describe_studies(page),
            describe_runs(page),
        ],
        headline=_list_headline(page),
    )


def _list_headline(page: SemPage) -> list[tuple[str, str]]:
    report, promotion = page.results["sem_test_report"], page.results["sem_promotion"]
    compared_models = list_compared_models(report)
    sets, flag = report["sets"], report["flag"]
    auroc = None if flag["auroc"] is None else flag["auroc"]["score"]
    error = report[compared_models[0]]["calibration"]["expected_error"]
    transfer = page.results.get("sem_transfer_report")
    return [
        *(
            (
                f"Balanced accuracy, {name}",
                f"{write_interval(report[name]['class']['balanced_accuracy'])}; guessing: "
                f"{1.0 / len(report[name]['class']['names']):.3f}",
            )
            for name in compared_models
        ),
        (
            "Production",
            f"{'promoted' if promotion['promoted'] else 'refused'}: "
            f"{'; '.join(promotion['reasons'])}",
        ),
        ("Expected calibration error", f"{error:.3f}"),
        (
            "Sets of classes hold the truth",
            f"{write_interval(sets['coverage'])}; target {sets['target']:.2f}",
        ),
        (
            "Unknown material is found (AUROC)",
            f"{write_interval(auroc)}; false alarms {write_interval(flag['false_alarms'])}",
        ),
        (
            "On what training never saw",
            "not measured" if transfer is None else summarise_transfer(transfer),
        ),
    ]
