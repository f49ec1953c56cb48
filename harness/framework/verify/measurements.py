"""Replay of the boot event log and the IMA log against the quoted PCR values."""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from hashlib import sha1, sha256
from itertools import islice
from typing import NamedTuple

from harness.framework.errors import ParseError
from harness.framework.evidence import boot_event_log, ima_replay
from harness.framework.evidence.boot_event_log import (
    ALG_SHA1,
    ALG_SHA256,
    EV_NO_ACTION,
    BootEvent,
)
from harness.framework.evidence.ima_domains import RECORDS
from harness.framework.evidence.ima_log import BOOT_AGGREGATE, IMA_PCR, ImaEntry
from harness.framework.evidence.ima_replay import MAX_REPORTED, ImaReplay, Problem, Start
from harness.framework.evidence.memo import hash_of
from harness.framework.verify.boot_rules import check_boot
from harness.framework.verify.containers import Container, ContainerCheck
from harness.framework.verify.context import Context
from harness.framework.verify.failures import FailureList
from harness.framework.verify.file_rules import FileJudge
from harness.framework.verify.known_list import KnownList, ListEnd
from harness.framework.verify.plain_list import ListWalk
from harness.framework.verify.policy import Policy

_FIRMWARE_PCRS = range(10)
_AGGREGATED_PCRS, _SHA1_AGGREGATED_PCRS = range(10), range(8)
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
    rules = context.policy.containers
    measured = {IMA_PCR, rules.pcr} if rules else {IMA_PCR}
    for pcr, value in sorted(quoted.items()):
        if pcr in measured or (pcr not in _FIRMWARE_PCRS and pcr not in replayed):
            continue
        expected = replayed.get(pcr, _ZERO)
        failures.require(
            expected == value,
            "boot.replay.mismatch",
            f"PCR {pcr}: the log leads to {expected.hex()}, quoted is {value.hex()}",
        )
    return events


def check_boot_events(log: bytes, events: list[BootEvent], context: Context) -> None:
    """Every event that was extended must be one that the policy knows.

    ``events`` are those of ``log``; none if it couldn't be read.
    """
    policy = context.policy
    if not events or (policy.boot is None and policy.boot_rules is None):
        return

    def judge() -> tuple[Problem, ...]:
        unknown = () if policy.boot is None else _unknown_events(events, policy.boot)
        others = () if policy.boot_rules is None else check_boot(events, policy.boot_rules)
        return (*islice(unknown, MAX_REPORTED), *islice(others, MAX_REPORTED))

    key = hash_of("boot events", log, policy.digest.encode())
    context.failures.add_all(context.memo(key, judge))


def _unknown_events(
    events: list[BootEvent], allowed: Mapping[int, tuple[bytes, ...]]
) -> Iterator[Problem]:
    for event in events:
        digest = event.digests.get(ALG_SHA256, b"")
        if event.kind != EV_NO_ACTION and digest not in allowed.get(event.pcr, ()):
            yield Problem("boot.event.unknown", f"PCR {event.pcr} {digest.hex()}")


class MeasuredList(NamedTuple):
    """The quoted prefix of an IMA list: its length, 0 without a match, and its containers.

    ``gave_up``: nobody looked whether there is one.

    ``end`` is None where the next replay can't begin there: an entry isn't acceptable, or there may
    be containers. ``continues``: whether the list goes through where it stood before, None if that
    isn't known.
    """

    entries: int = 0
    containers: tuple[Container, ...] = ()
    end: ListEnd | None = None
    continues: bool | None = None
    gave_up: bool = False


def replay_ima_log(
    log: bytes,
    quoted: dict[int, bytes],
    events: list[BootEvent],
    context: Context,
    known: KnownList | None = None,
    before: ListEnd | None = None,
    *,
    whole: bool = True,
) -> MeasuredList:
    """Check the log's quoted prefix and every entry in it.

    ``events`` are those of the boot: a boot stub may have extended the containers' PCR before the
    kernel. ``known`` is an accepted list that this one goes on from; it makes the replay shorter
    and changes no answer. The log is ``whole`` and begins with its bytes, or is only what follows.
    ``before`` is where the list stood when evidence was last accepted.
    """
    failures, policy = context.failures, context.policy
    aggregate = _boot_aggregate(quoted)
    if known and (known.policy, known.end.aggregate) != (policy.digest, aggregate):
        known = None
    if not whole and not failures.require(
        known is not None, "ima.log.start", "the log goes on from a list that isn't known"
    ):
        return MeasuredList()
    if not failures.require(bool(log or known), "ima.log.missing", "no IMA log"):
        return MeasuredList()
    try:
        other = _sha1_aggregate(events, policy)
        if policy.containers is not None:
            check = ContainerCheck(policy.containers)
            start = boot_event_log.replay(events)
            result = replay_list(log, quoted, start, policy, check, None, None, other)
            return _with_containers(result, check, failures)
        end = known.end if known else None
        replay = partial(_replay_plain, log, policy, other)
        walked = ListWalk(replay, quoted, policy.file_rules, end, before, whole).walk()
    except ParseError as error:
        failures.add("ima.log.format", str(error))
        return MeasuredList()
    result = walked.result
    if not _add_failures(result, None, failures):
        return MeasuredList(gave_up=result.gave_up)
    if result.problems or aggregate is None:
        return MeasuredList(result.entries, continues=walked.continues)
    size = result.end if whole or known is None else known.end.size + result.end
    list_end = ListEnd(aggregate, result.entries, size, quoted[IMA_PCR], walked.keys)
    return MeasuredList(result.entries, (), list_end, walked.continues)


def _with_containers(
    result: ImaReplay, check: ContainerCheck, failures: FailureList
) -> MeasuredList:
    if not _add_failures(result, check, failures):
        return MeasuredList(gave_up=result.gave_up)
    return MeasuredList(result.entries, check.containers())


def _replay_plain(
    log: bytes,
    policy: Policy,
    sha1_aggregate: bytes | None,
    quoted: dict[int, bytes],
    begin: Start | None,
    files: FileJudge,
) -> ImaReplay:
    return replay_list(log, quoted, {}, policy, None, begin, files, sha1_aggregate)


def _add_failures(result: ImaReplay, check: ContainerCheck | None, failures: FailureList) -> bool:
    """Say what is wrong with a list that was replayed; whether its prefix is the quoted one."""
    for problem in result.problems:
        failures.add(problem.id, problem.detail)
    if result.gave_up:
        failures.add(*result.why_given_up())
        return False
    pcrs = f"PCR {IMA_PCR}" if check is None else f"PCRs {IMA_PCR} and {check.pcr}"
    matched = failures.require(
        result.matched,
        "ima.replay.mismatch",
        f"none of the {result.entries} prefixes leads to the quoted value of {pcrs}",
    )
    for problem in check.unsealed()[:MAX_REPORTED] if check and matched else ():
        failures.add(problem.id, problem.detail)
    return matched


def replay_list(
    log: bytes,
    quoted: dict[int, bytes],
    start: dict[int, bytes],
    policy: Policy,
    check: ContainerCheck | None,
    begin: Start | None = None,
    files: FileJudge | None = None,
    sha1_aggregate: bytes | None = None,
) -> ImaReplay:
    """Replay a list, judging its entries by ``policy``, and those of containers by ``check``.

    ``start`` are the PCR values when the kernel starts; without containers, ``begin`` is where the
    list goes on, and ``files`` judges what was loaded before. ``sha1_aggregate`` is a
    boot_aggregate that is acceptable, too. Raises ParseError.
    """
    value = quoted.get(IMA_PCR, b"")
    files = files or FileJudge(policy.file_rules)
    aggregates = {"sha256": _boot_aggregate(quoted), "sha1": sha1_aggregate}
    judge = _EntryJudge(policy.templates, files, aggregates, check)

    allowed = policy.plain_files
    if check is None:
        return ima_replay.replay(log, value, allowed, judge, begin)
    both = (value, quoted.get(check.pcr, b""))
    first = start.get(check.pcr, _ZERO)
    return ima_replay.replay_domains(log, both, first, allowed, judge, check)


def _boot_aggregate(quoted: dict[int, bytes]) -> bytes | None:
    """What the kernel hashes at start for the SHA-256 bank (since Linux 5.8); None if unquoted."""
    if any(pcr not in quoted for pcr in _AGGREGATED_PCRS):
        return None
    return sha256(b"".join(quoted[pcr] for pcr in _AGGREGATED_PCRS)).digest()


def _sha1_aggregate(events: list[BootEvent], policy: Policy) -> bytes | None:
    """What the kernel hashes instead where the TPM has no SHA-256 bank, or ``ima_hash=sha1``.

    None if the policy doesn't accept it, or an event of the boot log has no SHA-1 digest.
    """
    if not policy.sha1_boot_aggregate:
        return None
    try:
        values = boot_event_log.replay(events, ALG_SHA1)
    except ParseError:
        return None
    pcrs = (values.get(pcr, bytes(20)) for pcr in _SHA1_AGGREGATED_PCRS)
    return sha1(b"".join(pcrs), usedforsecurity=False).digest()


class _EntryJudge:
    """Judges the entries of one list, in their order."""

    def __init__(
        self,
        templates: Collection[str],
        files: FileJudge,
        aggregates: Mapping[str, bytes | None],
        check: ContainerCheck | None,
    ) -> None:
        self._templates = templates
        self._files = files
        self._aggregates = aggregates
        self._check = check

    def __call__(self, number: int, entry: ImaEntry) -> Problem | None:
        """Why entry ``number`` isn't acceptable."""
        where, check = f"entry {number} ({entry.path!r})", self._check
        if number and check is not None and entry.pcr == check.pcr:
            return check.judge(entry, where)
        if entry.pcr != IMA_PCR:
            return Problem("ima.entry.pcr", f"{where} is for PCR {entry.pcr}")
        if entry.violation:
            return Problem("ima.violation", f"{where} is a violation")
        if number and check is not None and entry.template == "ima-buf" and entry.path in RECORDS:
            return check.record(entry)
        if entry.template not in self._templates:
            return Problem("ima.entry.template", f"{where} has template {entry.template!r}")
        if number == 0:
            return self._judge_first(entry, where)
        if check is not None and check.managers.is_one(entry):
            return None
        return self._files.judge(entry, where)

    def _judge_first(self, entry: ImaEntry, where: str) -> Problem | None:
        """The first entry ties the list to the boot that was quoted."""
        if entry.path != BOOT_AGGREGATE:
            return Problem("ima.boot_aggregate.missing", f"the log starts with {entry.path!r}")
        expected = self._aggregates.get(entry.algorithm)
        if expected is None and entry.algorithm != "sha256":
            return Problem("ima.entry.hash", f"{where} has a digest of {entry.algorithm!r}")
        if entry.digest != expected:
            found = entry.digest.hex()
            return Problem("ima.boot_aggregate.mismatch", f"boot_aggregate is {found}")
        return None
