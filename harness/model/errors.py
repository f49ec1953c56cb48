"""Errors a user sees: one line each, with the exit code that the command ends with."""

from typing import ClassVar


class AttestbenchError(Exception):
    """Base of every expected error; ``str()`` is the one line shown to the user."""

    exit_code: ClassVar[int] = 2


class RejectedError(AttestbenchError):
    """A gate failed or evidence was rejected."""

    exit_code = 1


class InputError(AttestbenchError):
    """Usage or input is wrong: says what, where (``file:key``), what was expected, what to do."""

    exit_code = 2


class InconclusiveError(AttestbenchError):
    """The data can decide nothing yet."""

    exit_code = 3


class EnvironmentError_(AttestbenchError):  # noqa: N801, N818 - the builtin has this name
    """The machine lacks something (program, port, disk space, permission)."""

    exit_code = 4
