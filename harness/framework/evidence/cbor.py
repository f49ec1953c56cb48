"""Deterministic CBOR (RFC 8949 §4.2) for the few types that evidence needs.

``cbor2`` encodes; decoding is our own, because a general decoder also builds what tags ask for
(regular expressions, dates, shared references) before anybody could say no.
"""

import struct

import cbor2

from harness.framework.errors import ParseError

_MAX_DEPTH = 8
# An empty list is one byte here and 72 in memory, so what the size allows would be too many.
_MAX_ITEMS = 8192
_UINT, _BYTES, _TEXT, _ARRAY, _MAP, _SPECIAL = 0, 2, 3, 4, 5, 7
_MAJORS = (_UINT, _BYTES, _TEXT, _ARRAY, _MAP)
_SIMPLE = {0xF4: False, 0xF5: True, 0xF6: None}
# Heads of one byte: major type and argument, for simple values that byte.
_SHORT = {major << 5 | info: (major, info) for major in _MAJORS for info in range(24)}
_SHORT |= {first: (_SPECIAL, first) for first in _SIMPLE}
# The argument's width by additional information, and the least that isn't shorter in another; 28
# to 31 (reserved, indefinite) stay refused.
_WIDTHS = {
    24: (">B", 1, 24),
    25: (">H", 2, 1 << 8),
    26: (">I", 4, 1 << 16),
    27: (">Q", 8, 1 << 32),
}
_NOT_CANONICAL = "not in canonical form (shortest lengths, sorted unique keys)"


def encode(value: object) -> bytes:
    """Encode dicts, sequences, bytes, text, unsigned integers, booleans and None."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, max_size: int) -> object:
    """Decode one canonical item that fills ``data``.

    Raises:
        ParseError: ``data`` is longer than ``max_size``, truncated, followed by more bytes, holds a
            type outside the subset or too many items, or is not what :func:`encode` gives for the
            same value.
    """
    if len(data) > max_size:
        raise ParseError("CBOR", f"{len(data)} bytes, at most {max_size} are allowed")
    value, end = _item(data, 0, 0, [_MAX_ITEMS])
    if end != len(data):
        raise ParseError("CBOR", f"{len(data) - end} bytes follow the item at offset {end}")
    return value


def _item(data: bytes, at: int, depth: int, left: list[int]) -> tuple[object, int]:
    """The item at offset ``at``, and the offset after it; ``left`` holds how many may follow."""
    if depth > _MAX_DEPTH:
        raise ParseError("CBOR", f"nested deeper than {_MAX_DEPTH} at offset {at}")
    short = _SHORT.get(data[at]) if at < len(data) else None
    if short:
        major, argument = short
        at += 1
    else:
        major, argument, at = _head(data, at)
    if major == _UINT:
        return argument, at
    if major == _SPECIAL:
        return _SIMPLE[argument], at
    if major == _MAP:
        return _map(data, at, argument, depth, left)
    # Every remaining item takes at least one byte, so a false length cannot make us allocate.
    if argument > len(data) - at:
        raise ParseError("CBOR", f"length {argument} at offset {at} is beyond the end")
    if major == _BYTES:
        return data[at : at + argument], at + argument
    if major == _TEXT:
        return _text(data[at : at + argument], at), at + argument
    _spend(left, argument, at)
    items = []
    for _ in range(argument):
        item, at = _item(data, at, depth + 1, left)
        items.append(item)
    return items, at


def _spend(left: list[int], items: int, at: int) -> None:
    left[0] -= items
    if left[0] < 0:
        raise ParseError("CBOR", f"more than {_MAX_ITEMS} items at offset {at}")


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, argument and offset after a head of several bytes."""
    if at >= len(data):
        raise ParseError("CBOR", f"truncated at offset {at}")
    first = data[at]
    major, info = first >> 5, first & 0x1F
    if major not in _MAJORS or info not in _WIDTHS:
        raise ParseError("CBOR", f"type byte 0x{first:02x} at offset {at} is not used in evidence")
    form, width, least = _WIDTHS[info]
    try:
        (argument,) = struct.unpack_from(form, data, at + 1)
    except struct.error:
        raise ParseError("CBOR", f"truncated at offset {at}") from None
    if argument < least:
        raise ParseError("CBOR", f"{_NOT_CANONICAL} at offset {at}")
    return major, argument, at + 1 + width


def _map(
    data: bytes, at: int, count: int, depth: int, left: list[int]
) -> tuple[dict[object, object], int]:
    if count > (len(data) - at) // 2:
        raise ParseError("CBOR", f"map of {count} entries at offset {at} is beyond the end")
    _spend(left, 2 * count, at)
    result: dict[object, object] = {}
    before = (0, b"")
    for _ in range(count):
        start = at
        key, at = _item(data, at, depth + 1, left)
        # As `encode` sorts them: shorter ones first.
        before, last = (at - start, data[start:at]), before
        if before <= last:
            raise ParseError("CBOR", f"{_NOT_CANONICAL} at offset {start}")
        if not isinstance(key, int | str) or isinstance(key, bool):
            raise ParseError("CBOR", f"map key before offset {at} is neither text nor an integer")
        result[key], at = _item(data, at, depth + 1, left)
    return result, at


def _text(raw: bytes, at: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ParseError("CBOR", f"text at offset {at} is not UTF-8") from None
