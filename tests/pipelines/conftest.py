"""A copy of the project's configuration in which pipelines run without touching the project."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with the real source and configuration and empty data."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "conf" / "local").mkdir()
    shutil.copytree(PROJECT / "notebooks", folder / "notebooks")
    shutil.copy(PROJECT / "pyproject.toml", folder)
    shutil.copy(PROJECT / ".telemetry", folder)
    shutil.copytree(PROJECT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run_kedro(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `kedro` in the copied project."""
    return subprocess.run(
        [sys.executable, "-m", "kedro", *arguments],
        cwd=project,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
