"""Which run, code and input made a result, and how a page cites it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

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
    """Name of that run: the requested pipelines."""
    experiment: str | None
    """Experiment of that run."""
    git_commit: str
    """Commit of the code, or that there is none."""
    git_changed: bool
    """Whether tracked files differed from that commit."""
    at: str
    """When it was saved: UTC, ISO 8601 to the second."""


def cite_run(record: RunRecord | None) -> str:
    """Cite a run in a few words.

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


def describe_commit(project_path: Path) -> dict[str, str]:
    """Return the git commit of the project and whether the working tree differs from it.

    Parameters
    ----------
    project_path
        Root of the project.
    """
    commit = _run_git(project_path, "rev-parse", "HEAD")
    if commit is None:
        return {"git_commit": "not a git checkout"}
    changed = _run_git(project_path, "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_changed": "yes" if changed else "no"}


def hash_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files below a folder with their relative names.

    A file that cannot be read enters as such.

    Parameters
    ----------
    path
        File or folder.

    Returns
    -------
    str
        Hexadecimal digest; the order in which the files are found does not matter.
    """
    digest = hashlib.sha256()
    for file in _files_below(path):
        digest.update(os.fsencode(file.relative_to(path)))
        try:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            digest.update(f"unreadable: {error.strerror}".encode())
    return digest.hexdigest()


def _name_commit(record: RunRecord) -> str:
    if not record.git_commit.isalnum():
        return record.git_commit
    return f"commit {record.git_commit[:_SHORT_COMMIT]}{' + changes' * record.git_changed}"


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    yield from sorted(item for item in path.rglob("*") if item.is_file())


def _run_git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(  # noqa: S603  (fixed command, no shell)
            ["git", *arguments],  # noqa: S607  (git is found on PATH by design)
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
