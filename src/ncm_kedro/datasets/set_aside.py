"""Which samples the last save of a folder had to do without, and why; kept beside the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ncm_kedro.errors import StoreError
from ncm_kedro.whole_files import write_whole

_FILE = "set_aside.json"


def read_set_aside(folder: Path) -> dict[str, str]:
    """Read the reasons by sample; a folder without the list has none.

    Parameters
    ----------
    folder
        Folder of a data set that holds something by sample.

    Raises
    ------
    StoreError
        If the list is damaged.
    """
    path = folder / _FILE
    try:
        rows = json.loads(path.read_bytes())
        return {str(name): str(reason) for name, reason in rows.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, AttributeError) as error:
        raise StoreError(
            path,
            found=f"a list that cannot be parsed ({error})",
            expected="reasons by sample, as JSON",
            action="delete this file and run the pipeline again",
        ) from error


def write_set_aside(folder: Path, reasons: Mapping[str, str]) -> None:
    """Write the reasons by sample, an empty list where there are none.

    Parameters
    ----------
    folder
        Folder of the data set.
    reasons
        By sample.
    """
    write_whole(folder / _FILE, json.dumps(dict(reasons), indent=2).encode())
