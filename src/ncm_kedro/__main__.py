"""Run the project as a package: ``python -m ncm_kedro run``; lay one down: ``... init FOLDER``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ncm_kedro.errors import NcmError, SettingsError

RAW_FOLDERS = ("sem", "sem_unseen", "sem_additives", "tomograms", "holo", "cycling")
_PROJECT = Path(__file__).parent / "project"  # in a wheel; a checkout has its own conf
_CHECKOUT = Path(__file__).parents[2]
_PYPROJECT = """[tool.kedro]
package_name = "ncm_kedro"
project_name = "ncm_kedro"
kedro_init_version = "1.7.0"
source_dir = "."
"""


def main() -> None:
    """Run the command line of the packaged project, or lay down a project."""
    if sys.argv[1:2] == ["init"]:
        _run_init(sys.argv[2:])
        return
    from kedro.framework.cli.utils import find_run_command  # logs when it is imported
    from kedro.framework.project import configure_project

    package_name = Path(__file__).parent.name
    configure_project(package_name)
    run = find_run_command(package_name)
    run(prog_name=package_name, standalone_mode=not hasattr(sys, "ps1"))


def init_project(folder: Path) -> None:
    """Lay down configuration and data folders, in which ``kedro run`` then works.

    Parameters
    ----------
    folder
        New or empty folder.

    Raises
    ------
    SettingsError
        If there is something in the folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(
            str(folder),
            found="a folder with files, or a file",
            expected="a new or empty folder",
            action="name another one: python -m ncm_kedro init <folder>",
        )
    source = _PROJECT if _PROJECT.is_dir() else _CHECKOUT
    for environment in ("base", "demo"):
        shutil.copytree(source / "conf" / environment, folder / "conf" / environment)
    shutil.copy(source / "conf" / "logging.yml", folder / "conf")
    (folder / "conf" / "local").mkdir()
    (folder / "pyproject.toml").write_text(_PYPROJECT, encoding="utf-8")
    (folder / ".telemetry").write_text("consent: false\n", encoding="utf-8")
    for name in RAW_FOLDERS:
        (folder / "data" / "01_raw" / name).mkdir(parents=True)


def _run_init(arguments: list[str]) -> None:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.exit("usage: python -m ncm_kedro init FOLDER")
    folder = Path(arguments[0])
    try:
        init_project(folder)
    except NcmError as error:
        sys.exit(str(error))
    sys.stdout.write(
        f"Laid down {folder}. Put your data there:\n"
        f"  {folder}/data/01_raw/sem/<class>/   SEM frames, a folder per class such as 811_cycled\n"
        f"  {folder}/data/01_raw/tomograms/     tomograms\n"
        f"  {folder}/data/01_raw/holo/          X-ray projections at several distances\n"
        f"  {folder}/data/01_raw/cycling/       exports of a cycler\n"
        f"then:\n"
        f"  cd {folder}\n"
        "  kedro run --pipelines sem                   # or tomo, holo_tomography, cycling\n"
        "  kedro run --env demo --pipelines demo       # without data\n"
        "Without a GPU write `training: two_cores` into conf/local/globals.yml first.\n"
    )


if __name__ == "__main__":
    main()
