"""Errors of the framework: one line each, saying what was wrong, where, and what was expected."""


class FrameworkError(Exception):
    """Base of every expected error of the framework; ``str()`` is the one line shown."""


class ParseError(FrameworkError):
    """Bytes from outside do not have the expected form."""

    def __init__(self, what: str, problem: str) -> None:
        """``what`` names the structure (``TPMS_ATTEST``), ``problem`` what was found instead."""
        super().__init__(f"{what}: {problem}")
        self.what = what
        self.problem = problem


class PolicyError(FrameworkError):
    """A policy cannot be used: names the field, what was found and what was expected."""


class TeeError(FrameworkError):
    """A secure processor refused a request or cannot be reached."""
