"""Data that is the user's own, and is never written."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from ncm_kedro.errors import NcmError


def refuse_saving(place: Path, what: str) -> NoReturn:
    """Refuse to write data that belongs to the user.

    Parameters
    ----------
    place
        Where it lies.
    what
        What it is, as in ``raw frames``.

    Raises
    ------
    NcmError
        Always.
    """
    raise NcmError(
        place,
        found=f"an attempt to save {what}",
        expected=f"{what} to be read only",
        action="name another data set as the node's output",
    )
