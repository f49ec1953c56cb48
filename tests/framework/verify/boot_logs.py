"""Boot event logs built from the TCG's specification, for tests."""

import hashlib
import re
import struct
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

SHA1, SHA256, SHA384, SHA512, SM3 = 0x4, 0xB, 0xC, 0xD, 0x12
HASHES = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384", SHA512: "sha512", SM3: "sm3"}
NO_ACTION, SEPARATOR, EVENT_TAG, CRTM, IPL = 3, 4, 6, 8, 0xD
DRIVER_CONFIG, VARIABLE_BOOT, APPLICATION, GPT, ACTION = (0x80000000 + n for n in (1, 2, 3, 6, 7))
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
DB_GUID = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"


def header(banks: Sequence[int], pcr: int = 0, vendor: bytes = b"") -> bytes:
    sizes = b"".join(struct.pack("<HH", bank, len(digest(bank, b""))) for bank in banks)
    spec = struct.pack("<16sIBBBBI", b"Spec ID Event03\0", 0, 0, 2, 0, 2, len(banks)) + sizes
    return sha1_event(pcr, NO_ACTION, bytes(20), spec + bytes([len(vendor)]) + vendor)


def digest(bank: int, data: bytes) -> bytes:
    """Of a bank that nobody knows: 32 bytes."""
    return hashlib.new(HASHES[bank], data).digest() if bank in HASHES else b"?" * 32


def sha1_event(pcr: int, kind: int, value: bytes, data: bytes) -> bytes:
    return struct.pack("<II20sI", pcr, kind, value, len(data)) + data


def event(
    pcr: int, kind: int, data: bytes, banks: Sequence[int] = (SHA256,), hashed: bytes | None = None
) -> bytes:
    """A TCG_PCR_EVENT2; EV_NO_ACTION has digests of zeros."""
    out = struct.pack("<III", pcr, kind, len(banks))
    for bank in banks:
        value = digest(bank, data if hashed is None else hashed)
        out += struct.pack("<H", bank) + (bytes(len(value)) if kind == NO_ACTION else value)
    return out + struct.pack("<I", len(data)) + data


def variable(name: str, value: bytes, guid: str = GLOBAL) -> bytes:
    head = uuid.UUID(guid).bytes_le + struct.pack("<QQ", len(name), len(value))
    return head + name.encode("utf-16-le") + value


def tool_pcrs(log: Path) -> dict[str, dict[int, bytes]]:
    """PCR values by bank as tpm2_eventlog computes them; ``sha1`` alone for an old log."""
    command = ["tpm2_eventlog", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
    banks: dict[str, dict[int, bytes]] = {}
    for line in done.stdout.partition("\npcrs:\n")[2].splitlines():
        if match := re.fullmatch(r"  (\w+):", line):
            bank = banks.setdefault(match[1], {})
        elif match := re.fullmatch(r"    (\d+) *: 0x([0-9a-f]+)", line):
            bank[int(match[1])] = bytes.fromhex(match[2])
    return banks
