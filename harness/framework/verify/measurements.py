"""Replay of the boot event log and the IMA log against the quoted PCR values."""

from hashlib import sha256

from harness.framework.errors import ParseError
from harness.framework.evidence import boot_event_log, ima_log
from harness.framework.evidence.boot_event_log import EV_NO_ACTION, BootEvent
from harness.framework.evidence.ima_log import BOOT_AGGREGATE, IMA_PCR, ImaEntry, Problem
from harness.framework.evidence.memo import hash_of
from harness.framework.verify.context import Context
from harness.framework.verify.failures import FailureList
from harness.framework.verify.policy import Policy

_MAX_REPORTED = 16
_FIRMWARE_PCRS = range(10)
_AGGREGATED_PCRS = range(10)
_ZERO = bytes(32)


def replay_boot_log(log: bytes, quoted: dict[int, bytes], context: Context) -> list[BootEvent]:
    """Check that the log leads to the quoted values; its events, for the policy.

    PCRs 0-9 belong to firmware and boot loader alone, so there an absent event must mean a zero
    PCR. Above that the system may extend more than this log knows.
    """
    failures = context.failures
    if not failures.require(bool(log), "boot.log.missing", "no boot event log"):
        return []

    def parse_and_replay() -> tuple[list[BootEvent], dict[int, bytes]]:
        events = boot_event_log.parse(log)
        return events, boot_event_log.replay(events)

    try:
        events, replayed = context.memo(hash_of("boot log", log), parse_and_replay)
    except ParseError as error:
        failures.add("boot.log.format", str(error))
        return []
    for pcr, value in sorted(quoted.items()):
        if pcr == IMA_PCR or (pcr not in _FIRMWARE_PCRS and pcr not in replayed):
            continue
        expected = replayed.get(pcr, _ZERO)
        failures.require(
            expected == value,
            "boot.replay.mismatch",
            f"PCR {pcr}: the log leads to {expected.hex()}, quoted is {value.hex()}",
        )
    return events


def check_boot_events(events: list[BootEvent], context: Context) -> None:
    """Every event that was extended must be among the reference values of its PCR."""
    allowed = context.policy.boot
    if allowed is None:
        return
    unknown = [
        f"PCR {event.pcr} {event.digests[boot_event_log.ALG_SHA256].hex()}"
        for event in events
        if event.kind != EV_NO_ACTION
        and event.digests[boot_event_log.ALG_SHA256] not in allowed.get(event.pcr, ())
    ]
    for event in unknown[:_MAX_REPORTED]:
        context.failures.add("boot.event.unknown", event)


def replay_ima_log(
    log: bytes, quoted: dict[int, bytes], accepted: dict[bytes, bytes], context: Context
) -> int:
    """Check the log's quoted prefix and every entry in it; the prefix's length, 0 without a match.

    ``accepted`` is what ``ima_log.replay`` remembers for this policy.
    """
    failures, policy = context.failures, context.policy
    if not failures.require(bool(log), "ima.log.missing", "no IMA log"):
        return 0
    aggregate = _boot_aggregate(quoted)

    def judge(number: int, entry: ImaEntry) -> Problem | None:
        return _judge(number, entry, aggregate, policy)

    allowed = policy.ima if "ima-ng" in policy.ima_templates else {}
    try:
        result = ima_log.replay(log, quoted.get(IMA_PCR, b""), allowed, judge, accepted)
    except ParseError as error:
        failures.add("ima.log.format", str(error))
        return 0
    for problem in result.problems:
        failures.add(problem.id, problem.detail)
    failures.require(
        result.matched,
        "ima.replay.mismatch",
        f"none of the {result.entries} prefixes leads to the quoted value of PCR {IMA_PCR}",
    )
    return result.entries if result.matched else 0


def check_ima_progress(entries: int, at_least: int, failures: FailureList) -> None:
    """The list only grows while the machine runs."""
    failures.require(
        entries >= at_least,
        "ima.replay.rollback",
        f"{entries} entries are quoted, {at_least} were accepted before",
    )


def _boot_aggregate(quoted: dict[int, bytes]) -> bytes | None:
    """What the kernel hashes at start for the SHA-256 bank (since Linux 5.8); None if unquoted."""
    if any(pcr not in quoted for pcr in _AGGREGATED_PCRS):
        return None
    return sha256(b"".join(quoted[pcr] for pcr in _AGGREGATED_PCRS)).digest()


def _judge(number: int, entry: ImaEntry, aggregate: bytes | None, policy: Policy) -> Problem | None:
    where = f"entry {number} ({entry.path!r})"
    if entry.pcr != IMA_PCR:
        return Problem("ima.entry.pcr", f"{where} is for PCR {entry.pcr}")
    if entry.violation:
        return Problem("ima.violation", f"{where} is a violation")
    if entry.template not in policy.ima_templates:
        return Problem("ima.entry.template", f"{where} has template {entry.template!r}")
    if number == 0 and entry.path != BOOT_AGGREGATE:
        return Problem("ima.boot_aggregate.missing", f"the log starts with {entry.path!r}")
    if entry.algorithm != "sha256":
        return Problem("ima.entry.hash", f"{where} has a digest of {entry.algorithm!r}")
    if number == 0:
        if entry.digest == aggregate:
            return None
        return Problem("ima.boot_aggregate.mismatch", f"boot_aggregate is {entry.digest.hex()}")
    if entry.path not in policy.ima:
        return Problem("ima.file.unknown", f"{where} is not in the policy")
    if entry.digest not in policy.ima[entry.path]:
        return Problem("ima.file.digest", f"{where} has digest {entry.digest.hex()}")
    return None
