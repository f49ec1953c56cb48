"""Boot event logs: TCG PC Client Platform Firmware Profile, crypto-agile and SHA-1 formats."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from harness.framework.errors import ParseError
from harness.framework.evidence.reader import Reader

EV_NO_ACTION, EV_SEPARATOR = 0x3, 0x4
ALG_SHA1, ALG_SHA256, ALG_SHA384 = 0x0004, 0x000B, 0x000C
MAX_EVENTS = 65536

_WHAT = "boot event log"
_SPEC_ID, _STARTUP_LOCALITY = b"Spec ID Event03\0", b"StartupLocality\0"
_MAX_BANKS = 8
_PCRS = range(24)
_SHA1_SIZE, _MAX_DIGEST = 20, 64
_HASHES = {
    ALG_SHA1: ("sha1", 20),
    ALG_SHA256: ("sha256", 32),
    ALG_SHA384: ("sha384", 48),
    0x000D: ("sha512", 64),
    0x0012: ("sm3", 32),
}
# TPM2_Startup comes from locality 0 or 3; after an H-CRTM sequence it counts as 4.
_STARTUP_LOCALITIES = (0, 3, 4)
_NO_PCR = 0xFFFFFFFF


class BootEvent(NamedTuple):
    """One event: ``digests`` by hash algorithm id are what the firmware extended into ``pcr``."""

    pcr: int
    kind: int
    digests: dict[int, bytes]
    data: bytes


def parse(log: bytes) -> list[BootEvent]:
    """All events in order, the header of a crypto-agile log included (as EV_NO_ACTION).

    The log areas of ACPI are larger than the log: a rest of zeros alone, or of 0xff alone, is no
    part of it.

    Raises:
        ParseError: truncated, more than MAX_EVENTS events, unknown digest sizes, or a PCR above 23.
    """
    end = min(len(log.rstrip(padding)) for padding in (b"\0", b"\xff"))
    reader = Reader(log, _WHAT, "<")
    first = _sha1_event(reader)
    events = [first]
    sizes = _bank_sizes(first.data) if _is_header(first) else None
    while reader.at < end:
        if len(events) == MAX_EVENTS:
            raise ParseError(_WHAT, f"more than {MAX_EVENTS} events")
        events.append(_sha1_event(reader) if sizes is None else _agile_event(reader, sizes))
    return events


def replay(events: Iterable[BootEvent], bank: int = ALG_SHA256) -> dict[int, bytes]:
    """PCR values of ``bank`` after the events; PCRs that no event extends are left out.

    Raises:
        ParseError: an event has no digest for the bank, the bank's hash isn't known, or the TPM
            was started at an impossible locality.
    """
    name, size = _HASHES.get(bank, ("", 0))
    # OpenSSL may be built without SM3.
    if name not in hashlib.algorithms_available:
        raise ParseError(_WHAT, f"bank {bank:#06x} can't be replayed: unknown hash")
    initial = bytes(size)
    values: dict[int, bytes] = {}
    for event in events:
        if event.kind == EV_NO_ACTION:
            locality = _startup_locality(event)
            if locality is not None and 0 not in values:
                # PCR 0 then starts with the locality of TPM2_Startup in its last byte.
                values[0] = initial[:-1] + bytes([locality])
            continue
        if bank not in event.digests:
            raise ParseError(_WHAT, f"an event of PCR {event.pcr} has no {name} digest")
        before = values.get(event.pcr, initial)
        values[event.pcr] = hashlib.new(name, before + event.digests[bank]).digest()
    return values


def _sha1_event(reader: Reader) -> BootEvent:
    """TCG_PCR_EVENT: the whole of a SHA-1 log, and the first event of a crypto-agile one."""
    pcr, kind = _head(reader)
    digest = reader.take(_SHA1_SIZE)
    return BootEvent(pcr, kind, {ALG_SHA1: digest}, reader.take(reader.u32()))


def _agile_event(reader: Reader, sizes: dict[int, int]) -> BootEvent:
    """TCG_PCR_EVENT2."""
    (pcr, kind), count = _head(reader), reader.u32()
    if not 1 <= count <= len(sizes):
        most = f"expected 1 to {len(sizes)}"
        raise ParseError(_WHAT, f"{count} digests before offset {reader.at}, {most}")
    digests: dict[int, bytes] = {}
    for _ in range(count):
        bank = reader.u16()
        if bank not in sizes or bank in digests:
            raise ParseError(_WHAT, f"unexpected digest {bank:#06x} before offset {reader.at}")
        digests[bank] = reader.take(sizes[bank])
    return BootEvent(pcr, kind, digests, reader.take(reader.u32()))


def _is_header(event: BootEvent) -> bool:
    return event.kind == EV_NO_ACTION and event.data.startswith(_SPEC_ID)


def _bank_sizes(header: bytes) -> dict[int, int]:
    """Digest size by bank of a TCG_EfiSpecIdEvent; where we know the hash, it must be its size."""
    reader = Reader(header, "boot event log header", "<")
    reader.take(len(_SPEC_ID) + 8)  # platform class, version, errata, size of uintn
    count = reader.u32()
    if not 1 <= count <= _MAX_BANKS:
        raise ParseError(_WHAT, f"{count} hash algorithms, expected 1 to {_MAX_BANKS}")
    sizes = {}
    for _ in range(count):
        bank, size = reader.u16(), reader.u16()
        _, expected = _HASHES.get(bank, ("", size))
        if size > _MAX_DIGEST or size != expected:
            raise ParseError(_WHAT, f"digests of {bank:#06x} have {size} bytes")
        sizes[bank] = size
    if len(sizes) != count:
        raise ParseError(_WHAT, "a hash algorithm is listed twice")
    reader.take(reader.u8())  # vendor information
    reader.end()
    return sizes


def _head(reader: Reader) -> tuple[int, int]:
    """PCR and type of an event."""
    at, pcr, kind = reader.at, reader.u32(), reader.u32()
    # Some firmware marks EV_NO_ACTION events with a PCR of all ones.
    if pcr not in _PCRS and (pcr, kind) != (_NO_PCR, EV_NO_ACTION):
        raise ParseError(_WHAT, f"PCR {pcr} at offset {at}, expected 0 to 23")
    return pcr, kind


def _startup_locality(event: BootEvent) -> int | None:
    """The locality that an EV_NO_ACTION event announces; None if it is another one."""
    if not event.data.startswith(_STARTUP_LOCALITY) or len(event.data) != 17:
        return None
    locality = event.data[16]
    if locality not in _STARTUP_LOCALITIES:
        raise ParseError(_WHAT, f"startup at locality {locality}, expected 0, 3 or 4")
    return locality
