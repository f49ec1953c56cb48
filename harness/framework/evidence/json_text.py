"""JSON from outside, and bytes as JOSE writes them into it."""

import base64
from typing import TypeVar

import msgspec

from harness.framework.errors import ParseError

_T = TypeVar("_T")
# The last two: text that isn't UTF-8, and nesting that would use up the stack.
MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode(text: bytes, kind: type[_T], what: str) -> _T:
    """A value of type ``kind``; ``what`` names the text in errors. The size is for the caller.

    Raises:
        ParseError: names the field, what was found and what was expected.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except MALFORMED as error:
        raise ParseError(what, str(error)) from None


def base64url(data: bytes) -> str:
    """Without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
