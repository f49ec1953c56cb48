"""The attester's side of sending only the new part of an IMA log."""

import struct
from hashlib import sha256

from harness.framework.evidence.bundle import ImaPrefix
from harness.framework.evidence.ima_log import IMA_PCR, parse_entry

# The usual entry: PCR, SHA-1, name of six bytes, size of the data. Its data alone are extended.
_USUAL = struct.Struct("<I20sI6sI")
_NAMES = (b"ima-ng", b"ima-ns")
_VIOLATION = bytes(20)


def after(log: bytes, prefix: ImaPrefix) -> bytes | None:
    """What follows ``prefix`` in ``log``; None if ``log`` doesn't begin with it.

    Raises:
        ParseError: an entry of the prefix is malformed.
    """
    value, at, count, usual_end = bytes(32), 0, 0, len(log) - _USUAL.size
    while count < prefix.entries and at < len(log):
        usual = _usual(log, at) if at <= usual_end else None
        if usual is None:
            entry, at = parse_entry(log, at)
            pcr, extended = entry.pcr, entry.extended
        else:
            pcr, extended, at = usual
        count += 1
        if pcr == IMA_PCR:
            value = sha256(value + extended).digest()
    return log[at:] if (count, value) == (prefix.entries, prefix.pcr) else None


def cut(log: bytes, prefix: ImaPrefix | None) -> tuple[bytes, ImaPrefix | None]:
    """What to send of ``log`` to a verifier that knows ``prefix``: all of it, or what follows."""
    part = after(log, prefix) if prefix is not None else None
    return (log, None) if part is None else (part, prefix)


def _usual(log: bytes, at: int) -> tuple[int, bytes, int] | None:
    """PCR, what it extends and the end of the entry at ``at``; None leaves it to the parser."""
    pcr, sha1, name_size, name, size = _USUAL.unpack_from(log, at)
    start = at + _USUAL.size
    if name_size != 6 or name not in _NAMES or sha1 == _VIOLATION or size > len(log) - start:
        return None
    return pcr, sha256(log[start : start + size]).digest(), start + size
