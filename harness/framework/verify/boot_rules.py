"""Judging a boot by its events: what each PCR may have been extended with, and by what.

A TPM is told digests alone. An event's type and data are the log's word, which an attacker can
change: whatever is accepted is accepted for its digest, or for data that the digest is of.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, NamedTuple

import msgspec

from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import boot_events, ccel
from harness.framework.evidence.boot_event_log import (
    ALG_SHA256,
    ALG_SHA384,
    EV_NO_ACTION,
    EV_SEPARATOR,
    BootEvent,
)
from harness.framework.evidence.boot_events import EVENT_TYPES, Bank, Variable
from harness.framework.evidence.ima_replay import MAX_REPORTED, Problem

_Pcr = Annotated[int, msgspec.Meta(ge=0, le=23)]
_GLOBAL_VARIABLES = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
# Firmware that met an error extends a 1 instead.
_SEPARATORS = (bytes(4), b"\xff" * 4)


class BootRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event that a boot has: the PCR, the TCG's name of its type, and what it is about.

    ``name`` is a variable's name (``db`` or, as in efivarfs, ``db-<guid>``), a disk's GUID for GPT
    events, or a section (``.linux``) of a unified kernel image for EV_IPL; empty for any. ``value``
    is the variable's. ``digests`` (SHA-256; of a CC event log SHA-384) and ``texts`` (command
    lines) are what may have been measured. A rule has one of these three, or ``any``: without a
    name that opens the whole PCR, since any event can be called one of this type. Unless
    ``optional``, the event must be there.
    """

    pcr: _Pcr
    type: str
    name: str = ""
    value: bytes | None = None
    digests: tuple[bytes, ...] = ()
    texts: tuple[str, ...] = ()
    any: bool = False
    optional: bool = False

    def __post_init__(self) -> None:
        where = f"policy: boot_rules: PCR {self.pcr} {self.type}"
        if self.type not in EVENT_TYPES:
            raise PolicyError(f"{where}: no such event type; for example EV_EFI_GPT_EVENT")
        kind = EVENT_TYPES[self.type]
        if self.value is not None and not (self.name and kind in boot_events.VARIABLE_TYPES):
            raise PolicyError(f"{where}: value: only of a named variable")
        if self.any == (self.value is not None or bool(self.digests or self.texts)):
            raise PolicyError(f"{where}: give value, digests or texts, or else any")
        named = boot_events.VARIABLE_TYPES | boot_events.GPT_TYPES | {boot_events.EV_IPL}
        if self.name and kind not in named:
            raise PolicyError(f"{where}: name: events of this type have none that can be believed")

    def accepted(self, bank: Bank) -> frozenset[bytes]:
        """The digests that are acceptable; empty if any is."""
        texts = (boot_events.digests_of_text(text, bank) for text in self.texts)
        return frozenset(self.digests).union(*texts)


class BootRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every event must be one that a rule of ``events`` describes.

    ``secure_boot``: the firmware must have said that Secure Boot is on, before it booted anything.
    ``separators`` are the PCRs that must have one EV_SEPARATOR, which ends what firmware measures
    before it boots (None: PCRs 0 to 7; of a CC event log, the first register); those events need no
    rule.
    """

    events: tuple[BootRule, ...] = ()
    secure_boot: bool = True
    separators: tuple[_Pcr, ...] | None = None


class Registers(NamedTuple):
    """What a log extends: the bank, and the register that is told of Secure Boot.

    Several PCRs share one RTMR, which then has ``several`` separators. ``separators`` are those
    asked for by default. Number ``first`` in a log is the first of what is called ``name``.
    """

    bank: Bank
    secure_boot: int
    several: bool
    separators: tuple[int, ...]
    name: str
    first: int

    def called(self, number: int) -> str:
        """A register as people know it: ``PCR 7``, ``RTMR 0``."""
        return f"{self.name} {number - self.first}"


PCRS = Registers(Bank(ALG_SHA256, "sha256"), 7, False, tuple(range(8)), "PCR", 0)
RTMRS = Registers(Bank(ALG_SHA384, "sha384"), 1, True, (1,), "RTMR", 1)


def check_boot(
    events: Sequence[BootEvent], rules: BootRules, registers: Registers = PCRS
) -> Iterator[Problem]:
    """What ``rules`` find wrong with the replayed ``events``, in the order of the log."""
    extended = [event for event in events if event.kind != EV_NO_ACTION]
    yield from _BootCheck(rules, registers).problems(extended)


class _Subject(msgspec.Struct, frozen=True):
    """An event and what is known of it beside its bytes."""

    event: BootEvent
    names: tuple[str, ...] = ()
    variable: Variable | None = None

    def described(self, registers: Registers) -> str:
        """Register, type and name."""
        what = f" {self.names[0]}" if self.names else ""
        where = registers.called(self.event.pcr)
        return f"{where} {boot_events.type_name(self.event.kind)}{what}"


class _BootCheck:
    """Holds the events of one boot against rules."""

    def __init__(self, rules: BootRules, registers: Registers) -> None:
        self._rules = rules
        self._registers = registers
        self._bank = registers.bank
        asked = rules.separators
        self._separators = registers.separators if asked is None else asked
        self._accepted = [rule.accepted(self._bank) for rule in rules.events]
        self._met = [False] * len(rules.events)

    def problems(self, events: Sequence[BootEvent]) -> Iterator[Problem]:
        for subject in self._subjects(events):
            yield from self._judge(subject)
        for rule, met in zip(self._rules.events, self._met, strict=True):
            if not met and not rule.optional:
                name = f" {rule.name}" if rule.name else ""
                where = self._registers.called(rule.pcr)
                yield Problem("boot.event.missing", f"no event {where} {rule.type}{name}")
        yield from self._check_separators(events)
        if self._rules.secure_boot:
            yield from self._check_secure_boot(events)

    def _digest(self, event: BootEvent) -> bytes:
        return event.digests.get(self._bank.algorithm, b"")

    def _subjects(self, events: Sequence[BootEvent]) -> Iterator[_Subject]:
        """The events with their names. The announcement of a section is part of the section."""
        announced: dict[int, str] = {}
        sections = {
            boot_events.digest_of_section(rule.name, self._bank): rule.name
            for rule in self._rules.events
            if rule.name and EVENT_TYPES[rule.type] == boot_events.EV_IPL
        }
        for event in events:
            section = announced.pop(event.pcr, None)
            if section is not None:
                yield _Subject(event, (section,))
            elif event.kind == boot_events.EV_IPL and self._digest(event) in sections:
                announced[event.pcr] = sections[self._digest(event)]
            else:
                yield _named(event)

    def _judge(self, subject: _Subject) -> Iterator[Problem]:
        event, what = subject.event, subject.described(self._registers)
        hashed = event.kind in boot_events.HASHED_DATA
        if hashed and not boot_events.is_of_its_data(event, self._bank):
            yield Problem("boot.event.data", f"{what}: its digest is not of its data")
            return
        named = [n for n, rule in enumerate(self._rules.events) if _is_about(rule, subject)]
        good = [n for n in named if self._accepts(n, subject)]
        for number in good:
            self._met[number] = True
        digest = self._digest(event).hex()
        if not named and event.kind == EV_SEPARATOR and event.pcr in self._separators:
            return
        if not named:
            yield Problem("boot.event.unknown", f"{what} {digest}: no rule describes it")
        elif not good and any(self._rules.events[n].value is not None for n in named):
            value = subject.variable.value.hex() if subject.variable else ""
            yield Problem("boot.event.value", f"{what} is {value[:64] or 'empty'}")
        elif not good:
            yield Problem("boot.event.digest", f"{what} has digest {digest}")

    def _accepts(self, number: int, subject: _Subject) -> bool:
        rule, accepted = self._rules.events[number], self._accepted[number]
        value = subject.variable.value if subject.variable else None
        if rule.value is not None and rule.value != value:
            return False
        return not accepted or self._digest(subject.event) in accepted

    def _check_separators(self, events: Sequence[BootEvent]) -> Iterator[Problem]:
        for pcr in self._separators:
            where = self._registers.called(pcr)
            found = [event for event in events if (event.pcr, event.kind) == (pcr, EV_SEPARATOR)]
            if not found:
                yield Problem("boot.separator.missing", f"{where} has no separator")
            elif len(found) > 1 and not self._registers.several:
                yield Problem("boot.separator.repeated", f"{where} has {len(found)} separators")
            for event in found:
                if event.data not in _SEPARATORS:
                    what = event.data[:16].hex() or "empty"
                    yield Problem("boot.separator.value", f"{where}: the separator is {what}")

    def _check_secure_boot(self, events: Sequence[BootEvent]) -> Iterator[Problem]:
        """By digest alone: the operating system can extend the register, but after a separator."""
        pcr, separated = self._registers.secure_boot, set(map(self._bank.hash, _SEPARATORS))
        on, *off = (
            self._bank.hash(boot_events.variable_data("SecureBoot", _GLOBAL_VARIABLES, value))
            for value in (b"\x01", b"\x00", b"")
        )
        digests = [self._digest(event) for event in events if event.pcr == pcr]
        end = next((n for n, digest in enumerate(digests) if digest in separated), 0)
        if any(digest in off for digest in digests):
            yield Problem("boot.secure_boot", "Secure Boot is off")
        elif on not in digests[:end]:
            where = self._registers.called(pcr)
            yield Problem("boot.secure_boot", f"{where} doesn't say that Secure Boot is on")


def check_ccel(
    log: bytes, reported: Sequence[bytes], rules: BootRules | None = None
) -> list[Problem]:
    """Hold a CC event log against the RTMRs of a TDX report whose signature was verified.

    ``rules`` name registers (1 is RTMR 0) where they say PCR, and digests are SHA-384. Empty if the
    log explains all four registers and the rules hold; at most 16 problems with the rules.
    """
    try:
        events = ccel.parse(log)
        replayed = ccel.replay(events)
    except ParseError as error:
        return [Problem("boot.log.format", str(error))]
    if len(reported) != len(replayed):
        what = f"{len(reported)} registers reported, expected {len(replayed)}"
        return [Problem("boot.replay.mismatch", what)]
    found = [
        Problem("boot.replay.mismatch", f"RTMR {n}: the log leads to {value.hex()}")
        for n, value in enumerate(replayed)
        if value != reported[n]
    ]
    broken = check_boot(events, rules, RTMRS) if rules else ()
    return found + list(islice(broken, MAX_REPORTED))


def _named(event: BootEvent) -> _Subject:
    """The names that its data give an event; none if they can't be read."""
    try:
        if event.kind in boot_events.VARIABLE_TYPES:
            variable = boot_events.parse_variable(event.data)
            full = f"{variable.name}-{variable.guid}"
            return _Subject(event, (variable.name, full), variable)
        if event.kind in boot_events.GPT_TYPES:
            return _Subject(event, (boot_events.disk_guid(event.data),))
    except ParseError:
        pass
    return _Subject(event)


def _is_about(rule: BootRule, subject: _Subject) -> bool:
    event = subject.event
    same = (rule.pcr, EVENT_TYPES[rule.type]) == (event.pcr, event.kind)
    return same and (not rule.name or rule.name in subject.names)
