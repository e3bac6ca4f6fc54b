"""Results of other pipelines to a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ncm_kedro.provenance import RunRecord

Parts = Mapping[str, Callable[[], Any]]


def write_sem_report(
    *, figures: Parts | None, lineage: Mapping[str, RunRecord], **results: Any
) -> str:
    """Write the page that a user opens first; results have the names of their data sets."""
    from ncm_kedro.plotting.sem.report import (
        OPTIONAL_RESULTS,
        PIPELINE_RESULTS,
        STUDIES,
        STUDY_FIGURES,
        render_sem_report,
    )

    wanted = (*PIPELINE_RESULTS, *OPTIONAL_RESULTS)
    parts = {_name_figure(part): (part, load) for part, load in (figures or {}).items()}
    studies = results.pop(STUDIES) or {}
    shown: dict[str, Any] = {name: parts[name][1]() for name in wanted if name in parts}
    shown[STUDIES] = {name: load() for name, load in studies.items()} or None
    drawn = [name for name in studies if f"sem_study_figure_{name}" in parts]
    shown[STUDY_FIGURES] = {name: parts[f"sem_study_figure_{name}"][1]() for name in drawn}
    made_by = {name: f"{part.partition('/')[0]}_figures" for name, (part, _) in parts.items()}
    made_by |= {f"{STUDY_FIGURES}/{name}": f"sem_study_{name}_figures/{name}" for name in drawn}
    runs = {name: lineage[source] for name, source in made_by.items() if source in lineage}
    return render_sem_report({**results, **shown}, {**lineage, **runs})


def _name_figure(part: str) -> str:
    """Turn ``<group>/<name>``, as the file is called, into the name that the page gives it."""
    group, _, name = part.partition("/")
    return f"{group}_figure_{name}"
