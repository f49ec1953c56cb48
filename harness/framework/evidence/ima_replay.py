"""Replay of IMA lists against quoted PCR values, an entry at a time.

Most entries are files that a policy names. The compiled part (ima_walk.c) recognises such an entry
by its bytes, without taking it apart; every other one goes through the parser to a judge.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from harness.framework.evidence.ima_log import ImaEntry, parse_entry
from harness.framework.evidence.ima_walk import AllowedFiles, DomainLists, native

MAX_REPORTED = 16
# With more unacceptable entries a list is given up: each costs as much as twenty acceptable ones.
MAX_UNACCEPTABLE = 10_000
_PCR_BYTES = 32


class Problem(NamedTuple):
    """Why an entry isn't acceptable: a dotted failure id and what was found."""

    id: str
    detail: str


class Start(NamedTuple):
    """Where a replay begins: ``entries`` of them led to the value ``pcr``; the next is at byte
    ``at``. ``unacceptable`` of them were. The default is a list's beginning."""

    entries: int = 0
    pcr: bytes = bytes(_PCR_BYTES)
    at: int = 0
    unacceptable: int = 0


class ImaReplay(NamedTuple):
    """``entries`` of them lead to the quoted PCR value, or all were tried in vain.

    They end at byte ``end`` of the list. ``problems`` are those of the entries that were replayed,
    at most MAX_REPORTED of them, ``unacceptable`` how many had one. ``gave_up``: more than
    MAX_UNACCEPTABLE had, so that what the list leads to isn't known.
    """

    matched: bool
    entries: int
    problems: tuple[Problem, ...]
    end: int
    unacceptable: int = 0
    gave_up: bool = False

    def why_given_up(self) -> Problem:
        """What to say of a list of which :attr:`gave_up` is true."""
        return Problem(
            "ima.entries.many",
            f"more than {MAX_UNACCEPTABLE:,} of the first {self.entries + 1:,} entries are "
            "unacceptable; whether the list leads to the quoted values wasn't looked at",
        )


class Domains(Protocol):
    """What is known of the containers while their list is replayed."""

    pcr: int
    lists: DomainLists


# Judges entry number n (0 is the first); None accepts it.
Judge = Callable[[int, ImaEntry], Problem | None]


def replay(
    log: bytes, quoted: bytes, allowed: AllowedFiles, judge: Judge, start: Start | None = None
) -> ImaReplay:
    """Extend entry by entry until PCR 10 has the ``quoted`` SHA-256 value, judging each.

    The machine measures on while it is quoted, so entries may follow the matching prefix; nothing
    vouches for them, and they are not looked at. An entry that ``allowed`` names is fine, every
    other one goes to ``judge``. ``start`` skips what was replayed before.

    Raises:
        ParseError: an entry before the match is malformed.
    """
    start = start or Start()
    walk = native().ffi.new("ima_walk *")
    walk.count, walk.at = start.entries, start.at
    walk.comparable = len(quoted) == _PCR_BYTES
    if walk.comparable:
        walk.quoted_host = quoted
    walk.host = start.pcr
    return _run(walk, log, allowed, judge, start.unacceptable)


def replay_domains(
    log: bytes,
    quoted: tuple[bytes, bytes],
    start: bytes,
    allowed: AllowedFiles,
    judge: Judge,
    domains: Domains,
) -> ImaReplay:
    """As :func:`replay`, for a list that extends PCR 10 and the containers' PCR.

    Both are quoted at one moment, so one prefix must lead to both values of ``quoted``; ``start``
    is the containers' PCR when the kernel starts (a boot stub may have extended it). An entry for
    that PCR is fine if the files of its container in ``domains`` name it, and else goes to
    ``judge``.

    Raises:
        ParseError: an entry before the match is malformed.
    """
    walk = native().ffi.new("ima_walk *")
    walk.domains, walk.domains_pcr = domains.lists.pointer, domains.pcr
    walk.comparable = all(len(value) == _PCR_BYTES for value in quoted)
    if walk.comparable:
        walk.quoted_host, walk.quoted_inner = quoted
    walk.inner = start
    return _run(walk, log, allowed, judge)


def _run(
    walk: Any, log: bytes, allowed: AllowedFiles, judge: Judge, unacceptable: int = 0
) -> ImaReplay:
    lib = native().lib
    walk.log = buffer = native().ffi.from_buffer(log)  # the walk alone doesn't keep it alive
    walk.size, walk.files, walk.templates = len(buffer), allowed.pointer, allowed.templates
    problems: list[Problem] = []
    while (found := lib.ima_walk_on(walk)) == lib.IMA_TO_JUDGE:
        entry, end = parse_entry(log, walk.at)
        problem = judge(walk.count, entry)
        if problem:
            unacceptable += 1
            if len(problems) < MAX_REPORTED:
                problems.append(problem)
            if unacceptable > MAX_UNACCEPTABLE:
                reported = tuple(problems)
                return ImaReplay(False, walk.count, reported, walk.at, unacceptable, gave_up=True)
        if lib.ima_walk_extend(walk, entry.pcr, entry.extended, end):
            found = lib.IMA_MATCHED
            break
    if found == lib.IMA_NO_MEMORY:
        raise MemoryError(f"no room for entry {walk.count} of an IMA list")
    matched = found == lib.IMA_MATCHED
    return ImaReplay(matched, walk.count, tuple(problems), walk.at, unacceptable)
