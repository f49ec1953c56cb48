"""Judging a boot by its events: what each PCR may have been extended with, and by what.

A TPM is told digests alone. An event's type and data are the log's word, which an attacker can
change: whatever is accepted is accepted for its digest, or for data that the digest is of.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Annotated

import msgspec

from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import boot_events
from harness.framework.evidence.boot_event_log import (
    ALG_SHA256,
    EV_NO_ACTION,
    EV_SEPARATOR,
    BootEvent,
)
from harness.framework.evidence.boot_events import EVENT_TYPES, Variable
from harness.framework.evidence.ima_replay import Problem

_Pcr = Annotated[int, msgspec.Meta(ge=0, le=23)]
_GLOBAL_VARIABLES = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
# Firmware that met an error extends a 1 instead.
_SEPARATORS = (bytes(4), b"\xff" * 4)
_SEPARATED = frozenset(sha256(value).digest() for value in _SEPARATORS)
_SECURE_BOOT_ON, *_SECURE_BOOT_OFF = (
    sha256(boot_events.variable_data("SecureBoot", _GLOBAL_VARIABLES, value)).digest()
    for value in (b"\x01", b"\x00", b"")
)


class BootRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event that a boot has: the PCR, the TCG's name of its type, and what it is about.

    ``name`` is a variable's name (``db`` or, as in efivarfs, ``db-<guid>``), a disk's GUID for GPT
    events, or a section (``.linux``) of a unified kernel image for EV_IPL; empty for any. ``value``
    is the variable's. ``digests`` (SHA-256) and ``texts`` (command lines) are what may have been
    measured. A rule has one of these three, or ``any``: without a name that opens the whole PCR,
    since any event can be called one of this type. Unless ``optional``, the event must be there.
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

    @property
    def accepted(self) -> frozenset[bytes]:
        """The digests that are acceptable; empty if any is."""
        texts = (boot_events.digests_of_text(text) for text in self.texts)
        return frozenset(self.digests).union(*texts)


class BootRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every event must be one that a rule of ``events`` describes.

    ``secure_boot``: the firmware must have said that Secure Boot is on, before it booted anything.
    ``separators`` are the PCRs that must have one EV_SEPARATOR, which ends what firmware measures
    before it boots; those events need no rule.
    """

    events: tuple[BootRule, ...] = ()
    secure_boot: bool = True
    separators: tuple[_Pcr, ...] = tuple(range(8))


class _Subject(msgspec.Struct, frozen=True):
    """An event and what is known of it beside its bytes."""

    event: BootEvent
    names: tuple[str, ...] = ()
    variable: Variable | None = None

    def __str__(self) -> str:
        what = f" {self.names[0]}" if self.names else ""
        return f"PCR {self.event.pcr} {boot_events.type_name(self.event.kind)}{what}"


def check_boot(events: Sequence[BootEvent], rules: BootRules) -> Iterator[Problem]:
    """What ``rules`` find wrong with the replayed ``events``, in the order of the log."""
    extended = [event for event in events if event.kind != EV_NO_ACTION]
    met: set[BootRule] = set()
    for subject in _subjects(extended, rules):
        yield from _judge(subject, rules, met)
    for rule in rules.events:
        if rule not in met and not rule.optional:
            name = f" {rule.name}" if rule.name else ""
            yield Problem("boot.event.missing", f"no event PCR {rule.pcr} {rule.type}{name}")
    yield from _check_separators(extended, rules)
    if rules.secure_boot:
        yield from _check_secure_boot(extended)


def _subjects(events: Sequence[BootEvent], rules: BootRules) -> Iterator[_Subject]:
    """The events with their names. The announcement of a section is part of the section."""
    announced: dict[int, str] = {}
    sections = {
        boot_events.digest_of_section(rule.name): rule.name
        for rule in rules.events
        if rule.name and EVENT_TYPES[rule.type] == boot_events.EV_IPL
    }
    for event in events:
        section = announced.pop(event.pcr, None)
        if section is not None:
            yield _Subject(event, (section,))
        elif event.kind == boot_events.EV_IPL and event.digests[ALG_SHA256] in sections:
            announced[event.pcr] = sections[event.digests[ALG_SHA256]]
        else:
            yield _named(event)


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


def _judge(subject: _Subject, rules: BootRules, met: set[BootRule]) -> Iterator[Problem]:
    event = subject.event
    if event.kind in boot_events.HASHED_DATA and not boot_events.is_of_its_data(event):
        yield Problem("boot.event.data", f"{subject}: its digest is not of its data")
        return
    named = [rule for rule in rules.events if _is_about(rule, subject)]
    good = [rule for rule in named if _accepts(rule, subject)]
    met.update(good)
    digest = event.digests[ALG_SHA256].hex()
    if not named and event.kind == EV_SEPARATOR and event.pcr in rules.separators:
        return
    if not named:
        yield Problem("boot.event.unknown", f"{subject} {digest}: no rule describes it")
    elif not good and any(rule.value is not None for rule in named):
        value = subject.variable.value.hex() if subject.variable else ""
        yield Problem("boot.event.value", f"{subject} is {value[:64] or 'empty'}")
    elif not good:
        yield Problem("boot.event.digest", f"{subject} has digest {digest}")


def _is_about(rule: BootRule, subject: _Subject) -> bool:
    event = subject.event
    same = (rule.pcr, EVENT_TYPES[rule.type]) == (event.pcr, event.kind)
    return same and (not rule.name or rule.name in subject.names)


def _accepts(rule: BootRule, subject: _Subject) -> bool:
    value = subject.variable.value if subject.variable else None
    if rule.value is not None and rule.value != value:
        return False
    accepted = rule.accepted
    return not accepted or subject.event.digests[ALG_SHA256] in accepted


def _check_separators(events: Sequence[BootEvent], rules: BootRules) -> Iterator[Problem]:
    for pcr in rules.separators:
        found = [event for event in events if (event.pcr, event.kind) == (pcr, EV_SEPARATOR)]
        if not found:
            yield Problem("boot.separator.missing", f"PCR {pcr} has no separator")
        elif len(found) > 1:
            yield Problem("boot.separator.repeated", f"PCR {pcr} has {len(found)} separators")
        for event in found:
            if event.data not in _SEPARATORS:
                what = event.data[:16].hex() or "empty"
                yield Problem("boot.separator.value", f"PCR {pcr}: the separator is {what}")


def _check_secure_boot(events: Sequence[BootEvent]) -> Iterator[Problem]:
    """By digest alone: the operating system can extend PCR 7, too, but only after the separator."""
    digests = [event.digests[ALG_SHA256] for event in events if event.pcr == 7]
    end = next((n for n, digest in enumerate(digests) if digest in _SEPARATED), 0)
    if any(digest in _SECURE_BOOT_OFF for digest in digests):
        yield Problem("boot.secure_boot", "Secure Boot is off")
    elif _SECURE_BOOT_ON not in digests[:end]:
        yield Problem("boot.secure_boot", "PCR 7 doesn't say that Secure Boot is on")
