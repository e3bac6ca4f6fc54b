"""A project is laid down with one command, runs there, and is never laid over something."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kedro.framework.startup import bootstrap_project

from ncm_kedro.__main__ import RAW_FOLDERS, init_project
from ncm_kedro.errors import SettingsError

PROJECT = Path(__file__).parents[1]


def test_a_project_is_laid_down_with_the_configuration_and_a_place_for_data(tmp_path):
    folder = tmp_path / "new" / "cells"
    init_project(folder)
    for part in ("base", "demo"):
        names = {
            path.relative_to(PROJECT / "conf") for path in (PROJECT / "conf" / part).rglob("*")
        }
        laid = {path.relative_to(folder / "conf") for path in (folder / "conf" / part).rglob("*")}
        assert laid == names
    assert bootstrap_project(folder).package_name == "ncm_kedro"
    roots = yaml.safe_load((folder / "conf" / "base" / "globals.yml").read_text())
    for name in RAW_FOLDERS:
        assert f"data/01_raw/{name}" in roots.values()
        assert (folder / "data" / "01_raw" / name).is_dir()


def test_what_is_there_is_left_alone(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    for target in (tmp_path, mine):
        with pytest.raises(SettingsError, match="new or empty folder"):
            init_project(target)
    assert list(tmp_path.iterdir()) == [mine]
    assert mine.read_text() == "mine"


@pytest.mark.slow
def test_an_empty_project_says_what_to_put_where_in_one_line(tmp_path):
    def call(*arguments, cwd):
        return subprocess.run(
            [sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, check=False
        )

    folder = tmp_path / "cells"
    made = call("ncm_kedro", "init", str(folder), cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "kedro run --pipelines tomo" in made.stdout
    assert call("ncm_kedro", "init", str(folder), cwd=tmp_path).returncode == 1
    empty = call("kedro", "run", cwd=folder)
    assert empty.returncode == 1
    assert "Traceback" not in empty.stderr + empty.stdout
    for place in ("data/01_raw/sem", "data/01_raw/tomograms", "--pipelines tomo", "--env demo"):
        assert place in empty.stderr
    assert "type hints" not in empty.stderr + empty.stdout
