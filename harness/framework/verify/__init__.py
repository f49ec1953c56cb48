"""Verification: a pure function from evidence, policy and time to a result."""

from harness.framework.verify.boot_rules import BootRule, BootRules
from harness.framework.verify.cache import VerificationCache
from harness.framework.verify.challenge import Challenge, Previous
from harness.framework.verify.container_list import ContainerListResult, verify_container_list
from harness.framework.verify.containers import Container
from harness.framework.verify.failures import FAILURES, Failure
from harness.framework.verify.keylime_policy import KeylimePolicy, load_runtime_policy
from harness.framework.verify.policy import (
    ContainerRules,
    Policy,
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
    "BootRule",
    "BootRules",
    "Challenge",
    "Container",
    "ContainerListResult",
    "ContainerRules",
    "Failure",
    "KeylimePolicy",
    "Policy",
    "Previous",
    "TeeRoot",
    "VerificationCache",
    "encode_policy",
    "load_policy",
    "load_runtime_policy",
    "verify",
    "verify_container_list",
]
