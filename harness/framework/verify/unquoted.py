"""Logs without a quote: what they lead to, and what a policy says of what they hold.

For whoever writes a policy, or wants to compare a log with a PCR. Nothing here vouches for a log.
"""

from collections import Counter
from collections.abc import Mapping
from hashlib import sha256

import msgspec

from harness.framework.evidence import boot_event_log, ima_ascii, ima_log
from harness.framework.evidence.memo import forgetful
from harness.framework.verify import measurements
from harness.framework.verify.context import Context
from harness.framework.verify.failures import Failure, FailureList
from harness.framework.verify.policy import Policy

_FIRMWARE_PCRS = range(10)


class ReplayedList(msgspec.Struct, frozen=True):
    """``pcrs`` of the SHA-256 bank after the list; how many entries each template has."""

    pcrs: Mapping[int, bytes]
    templates: Mapping[str, int]
    violations: int


def binary_list(log: bytes) -> bytes:
    """An IMA list as the kernel's binary one, whichever of the two it is.

    A binary entry begins with a PCR of 32 bits, so with a zero in its second byte; text has none.

    Raises:
        ParseError: a text list that can't be told for sure.
    """
    return log if b"\0" in log[:4] or not log else ima_ascii.to_binary(log)


def replay_list(log: bytes, start: Mapping[int, bytes]) -> ReplayedList:
    """Replay a whole binary IMA list from the PCR values ``start``. Raises ParseError."""
    at, pcrs = 0, dict(start)
    templates: Counter[str] = Counter()
    violations = 0
    while at < len(log):
        entry, at = ima_log.parse_entry(log, at)
        pcrs[entry.pcr] = sha256(pcrs.get(entry.pcr, bytes(32)) + entry.extended).digest()
        templates[entry.template] += 1
        violations += entry.violation
    return ReplayedList(pcrs, templates, violations)


def judge_logs(boot_log: bytes, ima_list: bytes, policy: Policy) -> tuple[Failure, ...]:
    """What the verifier would find wrong with these logs if their own PCR values were quoted.

    Raises:
        ParseError: a log can't be read.
    """
    booted = boot_event_log.replay(boot_event_log.parse(boot_log)) if boot_log else {}
    quoted = {pcr: bytes(32) for pcr in _FIRMWARE_PCRS} | booted
    quoted |= replay_list(ima_list, booted).pcrs
    context = Context(policy, 0.0, forgetful, FailureList())
    events = measurements.replay_boot_log(boot_log, quoted, context)
    measurements.check_boot_events(boot_log, events, context)
    measurements.replay_ima_log(ima_list, quoted, events, context)
    return tuple(context.failures.found)
