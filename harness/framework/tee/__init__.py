"""TEE evidence: one Protocol for every kind, and the registry of the kinds that are known."""

from harness.framework.tee.csv import CsvVerifier
from harness.framework.tee.report import TeeReport, TeeVerificationError, TeeVerifier

__all__ = ["TeeReport", "TeeVerificationError", "TeeVerifier", "verifier"]

_VERIFIERS: dict[str, TeeVerifier] = {"csv": CsvVerifier()}


def verifier(tee: str) -> TeeVerifier | None:
    """The verifier of a kind of TEE, or None for a kind that isn't known."""
    return _VERIFIERS.get(tee)
