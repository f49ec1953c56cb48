"""IMA's binary measurement list (``binary_runtime_measurements``), written little-endian.

Entries of the template ``ima-ns`` (our kernel series) name the container's domain; ``redacted`` is
our own: an entry of which only what it extends is shown, see ``container_list``.

An entry is: PCR, SHA-1 of the template data, template name, template data. The kernel extends each
bank with that bank's own hash of the template data (since Linux 5.8), so the SHA-1 only tells here
whether the entry is a violation (all zeros), which extends all ones instead.
"""

import struct
from hashlib import sha256
from typing import NamedTuple

from harness.framework.errors import ParseError

IMA_PCR = 10
BOOT_AGGREGATE = "boot_aggregate"
IMA_NS, REDACTED = "ima-ns", "redacted"

_WHAT = "IMA log"
_U32 = struct.Struct("<I")
# A record of the aggregates of 4,096 domains, with room to spare.
_MAX_NAME, _MAX_DATA = 16, 1024 * 1024
_VIOLATION_SHA1, _VIOLATION_EXTEND = bytes(20), b"\xff" * 32
_NS_BYTES = 24
_OLD_TEMPLATE_PATH = 256  # "ima" hashes the path in a buffer of this size
# How many fields a template has, the first being a digest and the second a path (or name).
_FIELDS = {
    "ima-ng": 2,
    "ima-ngv2": 2,
    "ima-sig": 3,
    "ima-sigv2": 3,
    "ima-buf": 3,
    "ima-modsig": 5,
    "evm-sig": 9,
    IMA_NS: 3,
}
_TYPED_DIGESTS = ("ima-ngv2", "ima-sigv2")
DIGEST_OF_FILE, DIGEST_OF_TREE = "ima", "verity"


class ImaEntry(NamedTuple):
    """One measurement. ``extra`` is the third field: a signature (ima-sig, ima-modsig; evm-sig's is
    EVM's), ima-buf's buffer, ima-ns's 24 bytes.

    ``extended`` is what the SHA-256 bank was extended with.
    ``algorithm`` is "" and ``digest`` empty for a template that we don't know. ``digest_of``: "ima"
    for the file's bytes, "verity" for the root of its fs-verity tree, which is no digest of them.
    """

    pcr: int
    template: str
    algorithm: str
    digest: bytes
    path: str
    extra: bytes
    extended: bytes
    violation: bool
    digest_of: str = DIGEST_OF_FILE


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
        digest_of = DIGEST_OF_FILE
    else:
        data, at = _sized(log, at, start)
        fields, digest_of = _known_fields(template, data, start)
    if template == REDACTED:
        extended = _shown(data, start)
        violation = violation or extended == _VIOLATION_EXTEND
    else:
        extended = _VIOLATION_EXTEND if violation else sha256(data).digest()
    entry = ImaEntry(pcr, template, *fields, extended, violation, digest_of)
    return entry, at


_Fields = tuple[str, bytes, str, bytes]


def _known_fields(template: str, data: bytes, start: int) -> tuple[_Fields, str]:
    """Algorithm, digest, path and extra of a template with sized fields; what was hashed."""
    if template not in _FIELDS:
        return ("", b"", "", b""), DIGEST_OF_FILE
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
    digest_of = DIGEST_OF_FILE
    if template in _TYPED_DIGESTS:
        kind, _, algorithm = algorithm.partition(b":")
        digest_of = _text(kind)
        if digest_of not in (DIGEST_OF_FILE, DIGEST_OF_TREE):
            raise ParseError(_WHAT, f"digest of type {digest_of!r} at offset {start}")
    return (_text(algorithm), digest, _text(fields[1][:-1]), extra), digest_of


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
