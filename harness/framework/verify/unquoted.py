"""Logs without a quote: what they lead to, and what a policy says of what they hold.

For whoever writes a policy, or wants to compare a log with a PCR. Nothing here vouches for a log.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import sha256

import msgspec

from harness.framework.evidence import boot_event_log, ccel, ima_ascii, ima_log
from harness.framework.evidence.memo import forgetful
from harness.framework.verify import measurements, quotes
from harness.framework.verify.boot_rules import BootRules, check_ccel
from harness.framework.verify.context import Context
from harness.framework.verify.failures import Failure, FailureList
from harness.framework.verify.policy import Policy

_FIRMWARE_PCRS = range(10)
_NEEDS_BOOT_LOG = "ima.boot_aggregate.mismatch"
# Nothing was quoted: what a list leads to is for whoever asks to compare.
_NEED_QUOTE = ("boot.replay.mismatch", "ima.replay.mismatch")


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


def judge_logs(
    boot_log: bytes | None, ima_list: bytes | None, policy: Policy
) -> tuple[Failure, ...]:
    """What the verifier would refuse in the logs that are given if their own values were quoted.

    Without a boot log nobody can tell whether the list's boot_aggregate is right.

    Raises:
        ParseError: a log can't be read.
    """
    booted = boot_event_log.replay(boot_event_log.parse(boot_log)) if boot_log else {}
    quoted = dict(booted) if boot_log is None else dict.fromkeys(_FIRMWARE_PCRS, bytes(32)) | booted
    quoted |= replay_list(ima_list or b"", booted).pcrs
    context = Context(policy, 0.0, forgetful, FailureList())
    events = []
    if boot_log is not None:
        events = measurements.replay_boot_log(boot_log, quoted, context)
        measurements.check_boot_events(boot_log, events, context)
    if ima_list is not None:
        measurements.replay_ima_log(ima_list, quoted, events, context)
    if boot_log is not None and ima_list is not None:
        quotes.check_nonzero(quoted, context)
    skipped = _NEED_QUOTE if boot_log is not None else (*_NEED_QUOTE, _NEEDS_BOOT_LOG)
    return tuple(one for one in context.failures.found if one.id not in skipped)


def judge_cc_log(log: bytes, rules: BootRules) -> Iterator[Failure]:
    """What ``rules`` refuse in a CC event log whose own registers were reported. ParseError."""
    registers = ccel.replay(ccel.parse(log))
    for problem in check_ccel(log, registers, rules):
        yield Failure(problem.id, f"CC event log: {problem.detail}")
