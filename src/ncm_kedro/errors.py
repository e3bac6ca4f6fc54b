"""The one family of errors that users see."""

from __future__ import annotations


class NcmError(Exception):
    """Input or settings that the product cannot work with.

    The message names the file or row, what was found, what was expected and what to do.

    Parameters
    ----------
    where
        File, row, table or parameter that the problem is in.
    found
        What was found there.
    expected
        What was expected instead.
    action
        What the user can do about it.
    """

    def __init__(self, where: object, *, found: str, expected: str, action: str) -> None:
        self.where = str(where)
        self.found = found
        self.expected = expected
        self.action = action
        super().__init__(f"{self.where}: found {found}; expected {expected}. What to do: {action}")

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling between worker processes."""
        return (_rebuild, (type(self), self.where, self.found, self.expected, self.action))


class FrameError(NcmError):
    """An SEM frame that cannot be used."""


class TomogramError(NcmError):
    """A tomogram that cannot be used."""


class TableError(NcmError):
    """A table that does not satisfy its contract."""


class StoreError(NcmError):
    """A store that cannot be read or written."""


class ModelError(NcmError):
    """A model that cannot be built, loaded, trained or registered."""


class SettingsError(NcmError):
    """A parameter that does not fit the data or the machine."""


def _rebuild(kind: type[NcmError], where: str, found: str, expected: str, action: str) -> NcmError:
    return kind(where, found=found, expected=expected, action=action)
