"""TEE evidence: one Protocol for every kind, and the kinds that are known."""

import hmac
import importlib
import pkgutil
import time
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.evidence.memo import forgetful
from harness.framework.tee import kinds
from harness.framework.tee.report import TeeReport, TeeVerificationError, TeeVerifier

__all__ = [
    "TeeReport",
    "TeeVerificationError",
    "TeeVerifier",
    "verifier",
    "verifiers",
    "verify_bound",
]


@cache
def verifiers() -> Mapping[str, TeeVerifier]:
    """Every verifier that a module of :mod:`harness.framework.tee.kinds` offers, by kind."""
    found: dict[str, TeeVerifier] = {}
    for module in sorted(entry.name for entry in pkgutil.iter_modules(kinds.__path__)):
        offered = importlib.import_module(f"{kinds.__name__}.{module}").VERIFIERS
        found.update({verifier.tee: verifier for verifier in offered})
    return MappingProxyType(found)


def verifier(tee: str) -> TeeVerifier | None:
    """The verifier of a kind of TEE, or None for a kind that isn't known."""
    return verifiers().get(tee)


def verify_bound(evidence: TeeEvidence, root: bytes, report_data: bytes) -> TeeReport:
    """The report, if it goes back to ``root``, carries ``report_data`` and keeps the strict rules.

    For the parties that deal with each other without a policy: channel, host and service.

    Raises:
        TeeVerificationError: the first check that failed.
    """
    checker = verifier(evidence.tee)
    if checker is None:
        raise TeeVerificationError("tee.kind", f"TEE {evidence.tee!r} is unknown")
    rules = checker.rules_type()
    report = checker.verify(evidence, root, rules, time.time(), forgetful)
    if not hmac.compare_digest(report.report_data, report_data):
        raise TeeVerificationError("tee.report.binding", "the report's data aren't the expected")
    for failure, detail in checker.check_rules(report, rules):
        raise TeeVerificationError(failure, detail)
    return report
