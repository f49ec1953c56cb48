"""Judging what a guest attested: every round by our verifier, under the trial's policy."""

from collections.abc import Sequence
from typing import NamedTuple

from harness.framework.verify import (
    AttestationResult,
    Challenge,
    Policy,
    Previous,
    VerificationCache,
    verify,
)


class Answered(NamedTuple):
    """Evidence for a challenge, in wire form. Times are seconds since the epoch."""

    nonce: bytes
    issued_s: float
    answered_s: float
    evidence: bytes


def judge(rounds: Sequence[Answered], policy: Policy, lifetime_s: float) -> AttestationResult:
    """The first result that is a rejection, else the last one; each round after the one before.

    ``lifetime_s``: how long a challenge may be answered; a guest under emulation is slow.
    """
    if not rounds:
        raise ValueError("no round to judge")
    cache = VerificationCache()
    previous: Previous | None = None
    for one in rounds:
        challenge = Challenge(one.nonce, one.issued_s, one.issued_s + lifetime_s, previous)
        result = verify(one.evidence, policy, challenge, one.answered_s, cache)
        if not result.accepted:
            break
        previous = result.state
    return result
