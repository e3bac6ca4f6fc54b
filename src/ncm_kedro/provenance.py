"""Which run made a result, and how a page says so."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

UNKNOWN = "run not known"
_SHORT_RUN, _SHORT_COMMIT = 8, 7


class RunRecord(BaseModel):
    """The run that saved a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    dataset: str
    """Name in the catalog; with ``/<partition>`` for part of a partitioned data set."""
    node: str
    """Node that made it."""
    pipeline: str
    """Pipeline that the node belongs to."""
    run_id: str | None
    """MLflow run; None where nothing was tracked."""
    run_name: str | None
    """Name of that run, which is what was asked for."""
    experiment: str | None
    """Experiment of that run."""
    git_commit: str
    """Commit of the code, or that there is none."""
    git_changed: bool
    """Whether tracked files differed from that commit."""
    at: str
    """When it was saved: UTC, ISO 8601 to the second."""


def cite_run(record: RunRecord | None) -> str:
    """Say in a few words which run it was.

    Parameters
    ----------
    record
        The run; None where it was not recorded.
    """
    if record is None:
        return UNKNOWN
    run = "untracked run" if record.run_id is None else f"run {record.run_id[:_SHORT_RUN]}"
    when = record.at[:16].replace("T", " ")
    return f"{run}, {record.pipeline}, {when} UTC, {_name_commit(record)}"


def list_runs(records: Mapping[str, RunRecord | None]) -> list[dict[str, str]]:
    """List data sets with the runs that made them, for a table.

    Parameters
    ----------
    records
        By data set; None where the run is not known.
    """
    return [
        {"data set": name, "MLflow run": UNKNOWN, "pipeline": "", "saved (UTC)": "", "code": ""}
        if record is None
        else {
            "data set": name,
            "MLflow run": record.run_id or "untracked",
            "pipeline": record.pipeline,
            "saved (UTC)": record.at[:19].replace("T", " "),
            "code": _name_commit(record),
        }
        for name, record in records.items()
    ]


def _name_commit(record: RunRecord) -> str:
    if not record.git_commit.isalnum():
        return record.git_commit
    return f"commit {record.git_commit[:_SHORT_COMMIT]}{' + changes' * record.git_changed}"
