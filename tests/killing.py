"""Runs that are killed at a chosen moment, as by the kernel: nothing is tidied up."""

import os
import signal
import warnings
from contextlib import suppress


def die(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(count, function):
    """Return a function whose n-th call kills the process."""
    calls = []

    def run(*args, **kwargs):
        calls.append(1)
        return die() if len(calls) == count else function(*args, **kwargs)

    return run


def assert_killed(function, *arguments):
    """Call a function in a child process, which must be killed in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests
        child = os.fork()
    if child == 0:
        with suppress(BaseException):
            function(*arguments)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
