"""IMA's binary measurement list (``binary_runtime_measurements``), written little-endian.

Entries of the template ``ima-ns`` (our kernel series) name the container's domain; ``redacted`` is
our own: an entry of which only what it extends is shown, see ``container_list``.

An entry is: PCR, SHA-1 of the template data, template name, template data. The kernel extends each
bank with that bank's own hash of the template data (since Linux 5.8), so the SHA-1 only tells here
whether the entry is a violation (all zeros), which extends all ones instead.
"""

import struct
from collections.abc import Callable, Container, Mapping
from hashlib import sha256
from typing import NamedTuple, Protocol

from harness.framework.errors import ParseError

IMA_PCR = 10
BOOT_AGGREGATE = "boot_aggregate"
MAX_REPORTED = 16
IMA_NS, REDACTED = "ima-ns", "redacted"

_WHAT = "IMA log"
_U32 = struct.Struct("<I")
# A record of the aggregates of 4,096 domains, with room to spare.
_MAX_NAME, _MAX_DATA = 16, 1024 * 1024
_VIOLATION_SHA1, _VIOLATION_EXTEND = bytes(20), b"\xff" * 32
_OLD_TEMPLATE_PATH = 256  # "ima" hashes the path in a buffer of this size
_FIELDS = {"ima-ng": 2, "ima-sig": 3, "ima-buf": 3, IMA_NS: 3}
# One read for the fast path: PCR, first bytes of the SHA-1, size of the data of an ima-ng entry.
_FAST_HEAD = struct.Struct("<IQ22xI")
_NAME_AT, _DATA_AT = 24, 38
# An ima-ng entry from its name on: sized name, size of data, sized algorithm and digest, then path.
_LINE_DATA_AT, _LINE_PATH_AT = 14, 62
_IMA_NG, _SHA256 = b"\6\0\0\0ima-ng", b"\x28\0\0\0sha256:\0"
_NAME_NS, _NS_HEAD, _NS_BYTES = b"\6\0\0\0ima-ns", b"\x18\0\0\0", 24
_LINE_NS_AT = -len(_NS_HEAD) - _NS_BYTES


class ImaEntry(NamedTuple):
    """One measurement. ``extra``: ima-sig's signature, ima-buf's buffer, ima-ns's 24 bytes.

    ``extended`` is what the SHA-256 bank was extended with.
    ``algorithm`` is "" and ``digest`` empty for a template that we don't know.
    """

    pcr: int
    template: str
    algorithm: str
    digest: bytes
    path: str
    extra: bytes
    extended: bytes
    violation: bool


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


def redact(log: bytes, pcr: int) -> bytes:
    """The list with only what they extend left of the entries for ``pcr``.

    A tenant can replay it, and learns of others' containers their names and numbers of entries.
    Who guesses what another one measured can confirm it. Raises ParseError.
    """
    at, out = 0, bytearray()
    while at < len(log):
        entry, end = parse_entry(log, at)
        if entry.pcr == pcr:
            shown = entry.extended
            out += _U32.pack(pcr) + shown[:20] + _U32.pack(len(REDACTED)) + REDACTED.encode()
            out += _U32.pack(len(shown)) + shown
        else:
            out += log[at:end]
        at = end
    return bytes(out)


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


def parse_entry(log: bytes, at: int) -> tuple[ImaEntry, int]:
    """The entry at offset ``at``, and the offset after it.

    Raises:
        ParseError: truncated, sizes beyond their bounds, or fields that don't fill the data.
    """
    start = at
    pcr, at = _u32(log, at)
    sha1, at = _take(log, at, 20, start)
    name_size, at = _u32(log, at)
    if not 0 < name_size <= _MAX_NAME:
        raise ParseError(_WHAT, f"template name of {name_size} bytes at offset {start}")
    raw_name, at = _take(log, at, name_size, start)
    template = raw_name.decode("ascii", "backslashreplace")
    violation = sha1 == _VIOLATION_SHA1
    if template == "ima":
        digest, at = _take(log, at, 20, start)
        path, at = _sized(log, at, start)
        if len(path) > _OLD_TEMPLATE_PATH:
            raise ParseError(_WHAT, f"path of {len(path)} bytes at offset {start}")
        data = digest + path.ljust(_OLD_TEMPLATE_PATH, b"\0")
        fields = ("sha1", digest, _text(path), b"")
    else:
        data, at = _sized(log, at, start)
        fields = _known_fields(template, data, start)
    if template == REDACTED:
        extended = _shown(data, start)
        violation = violation or extended == _VIOLATION_EXTEND
    else:
        extended = _VIOLATION_EXTEND if violation else sha256(data).digest()
    entry = ImaEntry(pcr, template, *fields, extended, violation)
    return entry, at


def _known_fields(template: str, data: bytes, start: int) -> tuple[str, bytes, str, bytes]:
    """Algorithm, digest, path and extra of a template with a sized digest and path."""
    if template not in _FIELDS:
        return "", b"", "", b""
    fields, at = [], 0
    for _ in range(_FIELDS[template]):
        field, at = _sized(data, at, start)
        fields.append(field)
    if at != len(data):
        raise ParseError(_WHAT, f"{len(data) - at} bytes after the fields at offset {start}")
    algorithm, separator, digest = fields[0].partition(b":\0")
    if not separator or fields[1][-1:] != b"\0":
        raise ParseError(_WHAT, f"malformed digest or path in the entry at offset {start}")
    extra = fields[2] if len(fields) > 2 else b""
    if template == IMA_NS and len(extra) != _NS_BYTES:
        raise ParseError(_WHAT, f"namespaces of {len(extra)} bytes at offset {start}")
    return _text(algorithm), digest, _text(fields[1][:-1]), extra


def _shown(data: bytes, start: int) -> bytes:
    """What a redacted entry extends: its data."""
    if len(data) != 32:
        raise ParseError(_WHAT, f"redacted entry of {len(data)} bytes at offset {start}")
    return data


def _u32(data: bytes, at: int) -> tuple[int, int]:
    try:
        (value,) = _U32.unpack_from(data, at)
    except struct.error:
        raise ParseError(_WHAT, f"truncated at offset {at}") from None
    return value, at + 4


def _take(data: bytes, at: int, size: int, start: int) -> tuple[bytes, int]:
    end = at + size
    if end > len(data):
        raise ParseError(_WHAT, f"the entry at offset {start} is truncated")
    return data[at:end], end


def _sized(data: bytes, at: int, start: int) -> tuple[bytes, int]:
    size, at = _u32(data, at)
    if size > _MAX_DATA:
        raise ParseError(_WHAT, f"field of {size} bytes in the entry at offset {start}")
    return _take(data, at, size, start)


def _text(raw: bytes) -> str:
    """Paths are bytes to the kernel; two that differ must not become the same text."""
    return raw.decode("utf-8", "surrogateescape")
