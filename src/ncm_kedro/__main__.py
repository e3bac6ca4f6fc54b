"""Run the project as a package: ``python -m ncm_kedro``."""

from __future__ import annotations

import sys
from pathlib import Path

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main() -> None:
    """Run the command line of the packaged project."""
    package_name = Path(__file__).parent.name
    configure_project(package_name)
    run = find_run_command(package_name)
    run(prog_name=package_name, standalone_mode=not hasattr(sys, "ps1"))


if __name__ == "__main__":
    main()
