"""An independent replay of measurement lists: written for the tests, from the formats alone.

Formats: Documentation/security/IMA-templates.rst of the kernel, and
harness/guest/kernel/README.md for the template ima-ns and the records of domains.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

DIGEST = 32
ONES = b"\xff" * DIGEST
OVERFLOW = 0xFFFFFFFF


@dataclass(frozen=True)
class Entry:
    """One entry: PCR, SHA-1 template digest, template name, data of its fields."""

    pcr: int
    sha1: bytes
    template: str
    data: bytes
    fields: tuple[bytes, ...]

    @property
    def violation(self) -> bool:
        return not any(self.sha1)

    @property
    def name(self) -> str:
        return self.fields[1].rstrip(b"\0").decode()

    @property
    def digest(self) -> str:
        """Digest of the file in hexadecimal."""
        return self.fields[0].partition(b"\0")[2].hex()

    @property
    def domain(self) -> int:
        """Number of the container; 0 is the host."""
        return struct.unpack("<QIIII", self.fields[2])[0] if self.template == "ima-ns" else 0

    @property
    def extended(self) -> bytes:
        return ONES if self.violation else hashlib.sha256(self.data).digest()


def parse(raw: bytes) -> list[Entry]:
    """The entries of a binary list. Raises struct.error or AssertionError: it is not one."""
    entries = []
    at = 0
    while at < len(raw):
        pcr, sha1, size = struct.unpack_from("<I20sI", raw, at)
        at += 28 + size
        template = raw[at - size : at].decode()
        (size,) = struct.unpack_from("<I", raw, at)
        at += 4 + size
        data = raw[at - size : at]
        assert at <= len(raw)
        entry = Entry(pcr, sha1, template, data, tuple(_fields(data)))
        assert entry.violation or hashlib.sha1(data).digest() == sha1
        entries.append(entry)
    return entries


def _fields(data: bytes) -> list[bytes]:
    fields = []
    while data:
        (size,) = struct.unpack_from("<I", data)
        assert size <= len(data) - 4
        fields.append(data[4 : 4 + size])
        data = data[4 + size :]
    return fields


def extend(entries: Sequence[Entry]) -> str:
    """What a PCR (SHA-256) extended with these entries from zero holds, in hexadecimal."""
    start = bytes(DIGEST)
    return reduce(
        lambda pcr, entry: hashlib.sha256(pcr + entry.extended).digest(), entries, start
    ).hex()


@dataclass(frozen=True)
class Guest:
    """What a test guest has printed: files by name, and the notes of the program."""

    files: dict[str, bytes]
    notes: dict[str, int]
    console: str


def read_console(console: str) -> Guest:
    """Raises AssertionError: the guest did not come to its end."""
    files: dict[str, bytearray] = {}
    notes: dict[str, int] = {}
    name = ""
    for line in console.replace("\r", "").splitlines():
        words = line.split()
        if words[:1] == ["begin"]:
            name = words[1]
            files[name] = bytearray()
        elif words[:1] == ["end"]:
            name = ""
        elif name:
            files[name] += bytes.fromhex(line)
        elif words[:1] == ["note"]:
            notes[words[1]] = int(words[2])
    assert "\nDONE" in console.replace("\r", ""), console[-2000:]
    return Guest({name: bytes(content) for name, content in files.items()}, notes, console)


@dataclass
class Domain:
    """A container's record, its entries, and its summary after each of them."""

    record: dict[str, str]
    entries: list[Entry]
    summaries: list[list[str]]

    def add(self, entry: Entry) -> None:
        count, violations, aggregate = self.summaries[-1]
        value = bytes.fromhex(aggregate.partition(":")[2]) + entry.extended
        self.entries.append(entry)
        self.summaries.append(
            [
                str(int(count) + 1),
                str(int(violations) + entry.violation),
                f"sha256:{hashlib.sha256(value).hexdigest()}",
            ]
        )


def check(guest: Guest) -> dict[str, int]:
    """Judge everything a list with domains promises; counts. Raises AssertionError."""
    entries = parse(guest.files["list"])
    domains = _check_records(entries)
    lines = [line.split() for line in guest.files["domains"].decode().splitlines()]
    assert sorted(int(line[0]) for line in lines) == sorted(domains)
    for line in lines:
        domain = domains[int(line[0])]
        assert line[1:4] == domain.summaries[-1], line
        if f"list.{line[0]}" in guest.files:
            assert parse(guest.files[f"list.{line[0]}"]) == domain.entries
    for pcr in (10, 11):
        if f"pcr{pcr}" in guest.files:
            value = guest.files[f"pcr{pcr}"].decode().strip().lower()
            assert value == extend([entry for entry in entries if entry.pcr == pcr]), pcr
    return {
        "entries": len(entries),
        "domains": len(domains),
        "violations": sum(entry.violation for entry in entries),
    }


def _check_records(entries: Sequence[Entry]) -> dict[int, Domain]:
    """Each domain is announced once and first; each seal tells a prefix of its entries."""
    domains: dict[int, Domain] = {}
    for entry in entries:
        if entry.template == "ima-ns":
            assert entry.pcr == 11
            assert entry.domain in domains, f"{entry.name} of {entry.domain} without a record"
            domains[entry.domain].add(entry)
            continue
        assert entry.pcr == 10
        if entry.template != "ima-buf":
            continue
        assert entry.digest == hashlib.sha256(entry.fields[2]).hexdigest()
        text = entry.fields[2].decode()
        if entry.name == "ns_create":
            record = dict(word.split("=", 1) for word in text.split(" "))
            number = int(record["id"])
            assert number == OVERFLOW or number == 1 + len(set(domains) - {OVERFLOW})
            assert number not in domains
            domains[number] = Domain(record, [], [["0", "0", f"sha256:{bytes(DIGEST).hex()}"]])
        elif entry.name == "ns_aggregate":
            for line in text.splitlines():
                domain, count, *_ = line.split()
                assert line.split()[1:] == domains[int(domain)].summaries[int(count)], domain
    return domains
