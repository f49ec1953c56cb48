"""Replay of IMA lists against quoted PCR values, an entry at a time, with what makes it fast.

Most entries are files that a policy names. Such an entry is recognised by its bytes, without being
taken apart; every other one goes through the parser to a judge.
"""

import struct
from collections.abc import Callable, Container, Mapping
from hashlib import sha256
from typing import NamedTuple, Protocol

from harness.framework.evidence.ima_log import IMA_PCR, ImaEntry, parse_entry

MAX_REPORTED = 16

_U32 = struct.Struct("<I")
# One read for the fast path: PCR, first bytes of the SHA-1, size of the data of an ima-ng entry.
_FAST_HEAD = struct.Struct("<IQ22xI")
_NAME_AT, _DATA_AT = 24, 38
# An ima-ng entry from its name on: sized name, size of data, sized algorithm and digest, then path.
_LINE_DATA_AT, _LINE_PATH_AT = 14, 62
_IMA_NG, _SHA256 = b"\6\0\0\0ima-ng", b"\x28\0\0\0sha256:\0"
_NAME_NS, _NS_HEAD = b"\6\0\0\0ima-ns", b"\x18\0\0\0"
_LINE_NS_AT = -len(_NS_HEAD) - 24


class Problem(NamedTuple):
    """Why an entry isn't acceptable: a dotted failure id and what was found."""

    id: str
    detail: str


class ImaReplay(NamedTuple):
    """``entries`` of them lead to the quoted PCR value, or all were tried in vain.

    ``problems`` are those of the entries that were replayed, at most MAX_REPORTED of them.
    """

    matched: bool
    entries: int
    problems: tuple[Problem, ...]


class Domains(Protocol):
    """What is known of the containers while their list is replayed."""

    pcr: int

    def accept(self, line: bytes) -> bytes | None:
        """What ``line`` extends, if it is a fine entry; it starts at the template name."""


# Judges entry number n (0 is the first); None accepts it.
Judge = Callable[[int, ImaEntry], Problem | None]
Allowed = Mapping[str, Container[bytes]]


def replay(
    log: bytes, quoted: bytes, allowed: Allowed, judge: Judge, accepted: dict[bytes, bytes]
) -> ImaReplay:
    """Extend entry by entry until PCR 10 has the ``quoted`` SHA-256 value, judging each.

    The machine measures on while it is quoted, so entries may follow the matching prefix; nothing
    vouches for them, and they are not looked at. ``allowed`` are the SHA-256 digests by path; an
    ima-ng entry that is among them is fine, every other one goes to ``judge``. ``accepted``
    remembers fine entries and what they extend: it must belong to the same ``allowed``, and never
    grows beyond it.

    Raises:
        ParseError: an entry before the match is malformed.
    """
    value, at, count, size = bytes(32), 0, 0, len(log)
    problems: list[Problem] = []
    known, head = accepted.get, _FAST_HEAD.unpack_from
    fast_end = size - _DATA_AT
    while at < size:
        extended = None
        # Entry 0 is boot_aggregate: whether it is right depends on the quoted PCRs.
        if 0 < at <= fast_end:
            pcr, sha1_start, data_size = head(log, at)
            if pcr == IMA_PCR and sha1_start:
                end = at + _DATA_AT + data_size
                line = log[at + _NAME_AT : end]
                extended = known(line)
                if extended is None and end <= size:
                    extended = _accept(line, allowed, accepted)
        if extended is None:
            entry, end = parse_entry(log, at)
            extended = entry.extended
            problem = judge(count, entry)
            if problem and len(problems) < MAX_REPORTED:
                problems.append(problem)
        value = sha256(value + extended).digest()
        at, count = end, count + 1
        if value == quoted:
            return ImaReplay(True, count, tuple(problems))
    return ImaReplay(False, count, tuple(problems))


def _accept(line: bytes, allowed: Allowed, accepted: dict[bytes, bytes]) -> bytes | None:
    """What ``line`` extends, if it is a well-formed ima-ng entry that ``allowed`` names.

    ``line`` starts at the template name. None leaves it to the parser to say what is wrong.
    """
    path = line[_LINE_PATH_AT:]
    # The size of the data is right: the caller cut the line by it.
    if line[:10] != _IMA_NG or line[14:26] != _SHA256 or line[58:62] != _U32.pack(len(path)):
        return None
    try:
        digests = allowed.get(path[:-1].decode())
    except UnicodeDecodeError:
        return None
    if digests is None or line[26:58] not in digests or path[-1:] != b"\0":
        return None
    extended = sha256(line[_LINE_DATA_AT:]).digest()
    accepted[line] = extended
    return extended


def replay_domains(
    log: bytes,
    quoted: tuple[bytes, bytes],
    start: bytes,
    allowed: Allowed,
    judge: Judge,
    accepted: dict[bytes, bytes],
    domains: Domains,
) -> ImaReplay:
    """As :func:`replay`, for a list that extends PCR 10 and the containers' PCR.

    Both are quoted at one moment, so one prefix must lead to both values of ``quoted``; ``start``
    is the containers' PCR when the kernel starts (a boot stub may have extended it). An entry for
    that PCR goes to ``domains`` first, and to ``judge`` if it isn't accepted there.

    Raises:
        ParseError: an entry before the match is malformed.
    """
    host, containers, at, count, size = bytes(32), start, 0, 0, len(log)
    problems: list[Problem] = []
    known, head = accepted.get, _FAST_HEAD.unpack_from
    inner, accept, fast_end = domains.pcr, domains.accept, size - _DATA_AT
    while at < size:
        extended = None
        if 0 < at <= fast_end:
            pcr, sha1_start, data_size = head(log, at)
            end = at + _DATA_AT + data_size
            line = log[at + _NAME_AT : end]
            if sha1_start and end <= size:
                if pcr == IMA_PCR:
                    extended = known(line) or _accept(line, allowed, accepted)
                elif pcr == inner and line[:10] == _NAME_NS:
                    extended = accept(line)
        if extended is None:
            entry, end = parse_entry(log, at)
            pcr, extended = entry.pcr, entry.extended
            problem = judge(count, entry)
            if problem and len(problems) < MAX_REPORTED:
                problems.append(problem)
        if pcr == inner:
            containers = sha256(containers + extended).digest()
        elif pcr == IMA_PCR:
            host = sha256(host + extended).digest()
        at, count = end, count + 1
        if host == quoted[0] and containers == quoted[1]:
            return ImaReplay(True, count, tuple(problems))
    return ImaReplay(False, count, tuple(problems))


def file_of_line(line: bytes) -> tuple[str, bytes] | None:
    """Path and SHA-256 digest in ``line``, an ima-ns entry from its name on; None if it isn't."""
    path = line[_LINE_PATH_AT:_LINE_NS_AT]
    if (
        line[14:26] != _SHA256
        or line[58:62] != _U32.pack(len(path))
        or line[_LINE_NS_AT:][:4] != _NS_HEAD
        or path[-1:] != b"\0"
    ):
        return None
    try:
        return path[:-1].decode(), line[26:58]
    except UnicodeDecodeError:
        return None


def data_of_line(line: bytes) -> bytes:
    """The template data in ``line``."""
    return line[_LINE_DATA_AT:]
