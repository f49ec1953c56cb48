"""Just enough DER (X.690) to find where the parts of a certificate begin and end."""

from collections.abc import Iterator
from typing import NamedTuple

from harness.framework.errors import ParseError

_SEQUENCE = 0x30
_MAX_LENGTH_BYTES = 3


class Element(NamedTuple):
    """Where an element lies in its bytes: tag at ``start``, content from ``content`` to ``end``."""

    tag: int
    start: int
    content: int
    end: int

    def of(self, data: bytes) -> bytes:
        """The whole element."""
        return data[self.start : self.end]

    def content_of(self, data: bytes) -> bytes:
        """What is in it."""
        return data[self.content : self.end]


def read(data: bytes, at: int, what: str, limit: int | None = None) -> Element:
    """The element at ``at``, which must end before ``limit`` (default: the end of ``data``).

    Raises:
        ParseError: truncated, a tag of several bytes, or a length that isn't DER.
    """
    limit = len(data) if limit is None else limit
    if at + 2 > limit or data[at] & 0x1F == 0x1F:
        raise ParseError(what, f"no DER element at offset {at}")
    size, content = data[at + 1], at + 2
    if size >= 0x80:
        count = size & 0x7F
        content += count
        if not 1 <= count <= _MAX_LENGTH_BYTES or content > limit:
            raise ParseError(what, f"bad DER length at offset {at}")
        size = int.from_bytes(data[at + 2 : content])
        if size < 0x80 or size >> 8 * (count - 1) == 0:
            raise ParseError(what, f"DER length at offset {at} isn't the shortest")
    if content + size > limit:
        raise ParseError(what, f"DER element at offset {at} is truncated")
    return Element(data[at], at, content, content + size)


def sequence(data: bytes, what: str) -> Iterator[Element]:
    """The elements of the one SEQUENCE that ``data`` are. Raises ParseError."""
    outer = read(data, 0, what)
    if outer.tag != _SEQUENCE or outer.end != len(data):
        raise ParseError(what, "is not one DER sequence")
    at = outer.content
    while at < outer.end:
        element = read(data, at, what, outer.end)
        yield element
        at = element.end
