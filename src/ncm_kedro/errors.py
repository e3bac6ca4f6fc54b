"""The one family of errors that users see."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_log = logging.getLogger(__name__)
_NO_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


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


class Rejections(dict[str, NcmError]):
    """Why samples of a run were rejected: whatever one of them raises, the others go on."""

    @contextmanager
    def catch(self, sample: str, where: object) -> Iterator[None]:
        """Turn what a sample's reading or computing raises into its rejection.

        Parameters
        ----------
        where
            File or folder of the sample, for errors that do not say.

        Raises
        ------
        SettingsError, ModelError, OSError
            What would stop every sample alike: settings, the model, a disk that cannot be written.
        """
        try:
            yield
        except (SettingsError, ModelError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_WRITING:
                raise
            self[sample] = error if isinstance(error, NcmError) else _locate(where, error)
            _log.warning("rejected: %s: %s", sample, self[sample])

    @property
    def reasons(self) -> dict[str, str]:
        """Reason by sample."""
        return {sample: str(error) for sample, error in self.items()}

    def fail(self, sample: str) -> NoReturn:
        """Raise a sample's rejection again, where a later step shall record it."""
        raise self[sample]

    def check_left(self, samples: int) -> None:
        """Raise the first reason where not one of so many samples is left."""
        if self and len(self) >= samples:
            raise next(iter(self.values()))


def _locate(where: object, error: Exception) -> NcmError:
    _log.debug("%s", where, exc_info=error)
    located = TomogramError(
        where,
        found=f"an error while it was worked on ({type(error).__name__}: {error})",
        expected="a sample that can be read and computed",
        action="check the file in another program and export it again; if it is sound, report "
        "this message with the file's layout",
    )
    located.__cause__ = error
    return located


def _rebuild(kind: type[NcmError], where: str, found: str, expected: str, action: str) -> NcmError:
    return kind(where, found=found, expected=expected, action=action)
