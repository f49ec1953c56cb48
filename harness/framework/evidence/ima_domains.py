"""Measurement domains in an IMA list: who made a container, and the sum of what it measured.

The kernel series (harness/guest/kernel) writes two records (ima-buf) into PCR 10. ``ns_create``
says that a container exists and which program made it; it precedes the container's first entry.
``ns_aggregate`` says, for every container, how many entries it has and their aggregate, which is
what a PCR extended with these entries alone would hold.
"""

import re
import struct
from hashlib import sha256
from typing import NamedTuple

from harness.framework.errors import ParseError
from harness.framework.evidence.ima_log import ImaEntry

CREATION, AGGREGATES = "ns_create", "ns_aggregate"
RECORDS = (CREATION, AGGREGATES)
OVERFLOW_DOMAIN, OVERFLOW = 0xFFFFFFFF, "ns_overflow"
MAX_DOMAINS = 65536

_NAMESPACES = struct.Struct("<QIIII")
_NUMBER = r"(0|[1-9][0-9]{0,9})"
_DIGEST = r"([a-z0-9-]{1,16}):((?:[0-9a-f]{2}){1,64})"
_CREATION = re.compile(
    rf"id={_NUMBER} cid=([A-Za-z0-9._:@+-]{{1,255}})"
    rf" cgroup={_NUMBER} mnt={_NUMBER} pid={_NUMBER} user={_NUMBER} manager=(?:-|{_DIGEST})"
)
_AGGREGATE = re.compile(rf"{_NUMBER} {_NUMBER} {_NUMBER} {_DIGEST}")


class Namespaces(NamedTuple):
    """An ima-ns entry's domain, and the namespaces' inode numbers, which the kernel reuses."""

    domain: int
    mount: int
    pid: int
    user: int
    cgroup: int


class Creation(NamedTuple):
    """An ``ns_create`` record; ``manager`` is the program's digest, empty if not known."""

    domain: int
    name: str
    algorithm: str
    manager: bytes


class Aggregate(NamedTuple):
    """A domain's line in an ``ns_aggregate`` record."""

    entries: int
    violations: int
    algorithm: str
    digest: bytes


def namespaces(entry: ImaEntry) -> Namespaces:
    """The last field of an ima-ns entry."""
    return Namespaces(*_NAMESPACES.unpack(entry.extra))


def parse_creation(entry: ImaEntry) -> Creation:
    """Read an ``ns_create`` record. Raises ParseError."""
    match = _CREATION.fullmatch(_text(entry))
    if match is None:
        raise ParseError(CREATION, f"unexpected text {entry.extra[:80]!r}")
    domain, name, *_, algorithm, manager = match.groups()
    return Creation(int(domain), name, algorithm or "", bytes.fromhex(manager or ""))


def parse_aggregates(entry: ImaEntry) -> dict[int, Aggregate]:
    """Read an ``ns_aggregate`` record: a line for each domain. Raises ParseError."""
    lines = _text(entry).splitlines()
    if len(lines) > MAX_DOMAINS:
        raise ParseError(AGGREGATES, f"{len(lines)} domains, at most {MAX_DOMAINS}")
    found: dict[int, Aggregate] = {}
    for line in lines:
        match = _AGGREGATE.fullmatch(line)
        if match is None or int(match[1]) in found:
            raise ParseError(AGGREGATES, f"unexpected line {line[:80]!r}")
        found[int(match[1])] = Aggregate(
            int(match[2]), int(match[3]), match[4], bytes.fromhex(match[5])
        )
    return found


def _text(entry: ImaEntry) -> str:
    """The record's text, if the entry's digest is of it."""
    if (entry.algorithm, entry.digest) != ("sha256", sha256(entry.extra).digest()):
        raise ParseError(entry.path, "the digest isn't the SHA-256 of the record")
    try:
        return entry.extra.decode("ascii")
    except UnicodeDecodeError:
        raise ParseError(entry.path, "not ASCII") from None
