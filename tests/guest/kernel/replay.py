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
    while raw:
        pcr, sha1, size = struct.unpack_from("<I20sI", raw)
        raw = raw[28:]
        template, raw = raw[:size].decode(), raw[size:]
        (size,) = struct.unpack_from("<I", raw)
        data, raw = raw[4 : 4 + size], raw[4 + size :]
        assert len(data) == size
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
    files: dict[str, bytes] = {}
    notes: dict[str, int] = {}
    name = ""
    for line in console.replace("\r", "").splitlines():
        words = line.split()
        if words[:1] == ["begin"]:
            name = words[1]
            files[name] = b""
        elif words[:1] == ["end"]:
            name = ""
        elif name:
            files[name] += bytes.fromhex(line)
        elif words[:1] == ["note"]:
            notes[words[1]] = int(words[2])
    assert "\nDONE" in console.replace("\r", ""), console[-2000:]
    return Guest(files, notes, console)


def check(guest: Guest) -> dict[str, int]:
    """Judge everything a list with domains promises; counts. Raises AssertionError."""
    entries = parse(guest.files["list"])
    created = _check_records(entries)
    lines = {
        int(line.split()[0]): line.split() for line in guest.files["domains"].decode().splitlines()
    }
    assert set(lines) == set(created)
    for domain, line in lines.items():
        own = [entry for entry in entries if entry.domain == domain]
        assert line[1:4] == _summary(own), domain
        if f"list.{domain}" in guest.files:
            assert parse(guest.files[f"list.{domain}"]) == own
    for pcr in (10, 11):
        if f"pcr{pcr}" in guest.files:
            value = guest.files[f"pcr{pcr}"].decode().strip().lower()
            assert value == extend([entry for entry in entries if entry.pcr == pcr]), pcr
    return {
        "entries": len(entries),
        "domains": len(created),
        "violations": sum(entry.violation for entry in entries),
    }


def _summary(own: Sequence[Entry]) -> list[str]:
    return [str(len(own)), str(sum(e.violation for e in own)), f"sha256:{extend(own)}"]


def _check_records(entries: Sequence[Entry]) -> dict[int, dict[str, str]]:
    """Each domain is announced once and first; each seal tells a prefix of its entries."""
    created: dict[int, dict[str, str]] = {}
    own: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry.template == "ima-ns":
            assert entry.pcr == 11
            assert entry.domain in created, f"{entry.name} of {entry.domain} without a record"
            own.setdefault(entry.domain, []).append(entry)
            continue
        assert entry.pcr == 10
        if entry.template != "ima-buf":
            continue
        assert entry.digest == hashlib.sha256(entry.fields[2]).hexdigest()
        text = entry.fields[2].decode()
        if entry.name == "ns_create":
            record = dict(word.split("=", 1) for word in text.split(" "))
            number = int(record["id"])
            assert number == OVERFLOW or number == 1 + len(set(created) - {OVERFLOW})
            assert number not in created
            created[number] = record
        elif entry.name == "ns_aggregate":
            for line in text.splitlines():
                domain, count, violations, aggregate = line.split()
                prefix = own.get(int(domain), [])[: int(count)]
                assert [count, violations, aggregate] == _summary(prefix), domain
    return created
