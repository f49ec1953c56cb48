"""The attester's side of sending only the new part of an IMA log."""

from hashlib import sha256

from harness.framework.evidence.bundle import ImaPrefix
from harness.framework.evidence.ima_log import IMA_PCR, parse_entry


def after(log: bytes, prefix: ImaPrefix) -> bytes | None:
    """What follows ``prefix`` in ``log``; None if ``log`` doesn't begin with it.

    Raises:
        ParseError: an entry of the prefix is malformed.
    """
    value, at, count = bytes(32), 0, 0
    while count < prefix.entries and at < len(log):
        entry, at = parse_entry(log, at)
        count += 1
        if entry.pcr == IMA_PCR:
            value = sha256(value + entry.extended).digest()
    return log[at:] if (count, value) == (prefix.entries, prefix.pcr) else None


def cut(log: bytes, prefix: ImaPrefix | None) -> tuple[bytes, ImaPrefix | None]:
    """What to send of ``log`` to a verifier that knows ``prefix``: all of it, or what follows."""
    part = after(log, prefix) if prefix is not None else None
    return (log, None) if part is None else (part, prefix)
