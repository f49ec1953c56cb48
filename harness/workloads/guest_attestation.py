"""Judging what a guest attested: every round by our verifier, under the trial's policy."""

import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from harness.framework.errors import ParseError
from harness.framework.evidence import boot_event_log, ima_log
from harness.framework.verify import (
    AttestationResult,
    Challenge,
    Policy,
    Previous,
    verify,
    verify_container_list,
)
from harness.guest.machine.results import GuestFile
from harness.workloads.guest_evidence import GuestAttestation

_OWN_LIST = re.compile(r"ns\.([0-9]{1,10})\.ima_log")


class Answered(NamedTuple):
    """Evidence for a challenge, in wire form. Times are seconds since the epoch."""

    nonce: bytes
    issued_s: float
    answered_s: float
    evidence: bytes


class Verdict(NamedTuple):
    """The result that counts, and how long the verifier took for it."""

    result: AttestationResult
    taken_ns: int


def judge(rounds: Sequence[Answered], policy: Policy, lifetime_s: float) -> Verdict:
    """The first result that is a rejection, else the last one; each round after the one before.

    ``lifetime_s``: how long a challenge may be answered; a guest under emulation is slow.
    """
    if not rounds:
        raise ValueError("no round to judge")
    previous: Previous | None = None
    for one in rounds:
        challenge = Challenge(one.nonce, one.issued_s, one.issued_s + lifetime_s, previous)
        begin = time.perf_counter_ns()
        result = verify(one.evidence, policy, challenge, one.answered_s)
        taken_ns = time.perf_counter_ns() - begin
        if not result.accepted:
            break
        previous = result.state
    return Verdict(result, taken_ns)


def judge_containers(
    files: Sequence[GuestFile], made: GuestAttestation, policy: Policy
) -> dict[int, tuple[str, ...]]:
    """What each container's tenant finds in its own list, alone: failure ids by domain.

    ``made`` is the attestation right before the lists were sent; of it a tenant sees the other
    containers' entries only as digests. Raises ParseError.
    """
    if policy.containers is None:
        return {}
    start = boot_event_log.replay(boot_event_log.parse(made.boot_log))
    shown = ima_log.redact(made.ima_log, policy.containers.pcr)
    found: dict[int, tuple[str, ...]] = {}
    for file in files:
        match = _OWN_LIST.fullmatch(file.name)
        if match is None:
            continue
        domain = int(match[1])
        if domain in found:
            raise ParseError(file.name, "sent twice")
        result = verify_container_list(file.content, domain, shown, made.pcr_values, policy, start)
        found[domain] = tuple(sorted({failure.id for failure in result.failures}))
    return found
