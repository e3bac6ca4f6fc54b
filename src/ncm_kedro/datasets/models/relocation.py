"""Where the artifacts of a project that was moved or copied lie now."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

logger = logging.getLogger(__name__)

_SQLITE = "sqlite:///"
_LOCATIONS = {
    "experiments": ("artifact_location",), "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",), "model_versions": ("source", "storage_location"),
}  # fmt: skip


def find_database(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for another kind."""
    return Path(uri.removeprefix(_SQLITE)).resolve() if uri.startswith(_SQLITE) else None


def relocate_artifacts(uri: str) -> None:
    """Let the artifact locations of a project that was moved or copied point to where it lies.

    MLflow stores absolute paths. A location outside of the folder of its SQLite database is
    replaced where the same lies at the same place below that folder: below a folder of the same
    name, or, if the stored one is gone, the files of a model (which bear its identity).

    Parameters
    ----------
    uri
        Of the tracking store; nothing is done unless it is a SQLite database.
    """
    database = find_database(uri)
    if database is None or not database.is_file():
        return
    with closing(sqlite3.connect(database, timeout=30)) as store, store:
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master")}
        if not {"experiments", "logged_models"} <= tables:
            return
        known = store.execute(
            "SELECT DISTINCT artifact_location, 0 FROM experiments "
            "UNION SELECT DISTINCT artifact_location, 1 FROM logged_models"
        ).fetchall()
        root = database.parent
        for former in {_find_former_root(where, root, bool(of_model)) for where, of_model in known}:
            if former is None:
                continue
            now = f"{root}/"
            logger.warning("artifacts of the registry moved from %s to %s", former, now)
            for table, columns in _LOCATIONS.items():
                for column in columns if table in tables else ():
                    for old, new in ((former, now), (_to_uri(former), _to_uri(now))):
                        store.execute(
                            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                            f"WHERE substr({column}, 1, ?) = ?",
                            (new, len(old) + 1, len(old), old),
                        )


def _to_uri(path: str) -> str:
    return f"file://{quote(path)}"


def _find_former_root(location: str | None, root: Path, of_model: bool) -> str | None:
    """Return the folder, with a slash at its end, that ``root`` was when a location was stored."""
    parsed = urlparse(location or "")
    if parsed.scheme not in {"", "file"} or not parsed.path.startswith("/"):
        return None
    path = Path(unquote(parsed.path) if parsed.scheme else str(location))
    if path.is_relative_to(root):
        return None
    is_gone = of_model and not path.exists()
    for place in range(1, len(path.parts) - of_model):
        same_name = path.parts[place - 1] == root.name
        if (is_gone or same_name) and root.joinpath(*path.parts[place:]).exists():
            return f"{Path(*path.parts[:place])}/".replace("//", "/")
    return None
