"""Verification: a pure function from evidence, policy and time to a result."""

from harness.framework.verify.cache import VerificationCache
from harness.framework.verify.failures import FAILURES, Failure
from harness.framework.verify.policy import (
    Challenge,
    CsvRules,
    Policy,
    Previous,
    TeeRoot,
    encode_policy,
    load_policy,
)
from harness.framework.verify.result import AttestationResult
from harness.framework.verify.verifier import STAGES, verify

__all__ = [
    "FAILURES",
    "STAGES",
    "AttestationResult",
    "Challenge",
    "CsvRules",
    "Failure",
    "Policy",
    "Previous",
    "TeeRoot",
    "VerificationCache",
    "encode_policy",
    "load_policy",
    "verify",
]
