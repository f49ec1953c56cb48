"""Frames between the framework's own processes: a length, then canonical CBOR, bounded."""

import socket
import struct
from typing import Any

from harness.framework.errors import FrameworkError, ParseError
from harness.framework.evidence import cbor

MAX_FRAME_BYTES = 256 * 1024
_LENGTH = struct.Struct(">I")


def send(stream: socket.socket, message: dict[str, Any]) -> None:
    """Send one message."""
    body = cbor.encode(message)
    stream.sendall(_LENGTH.pack(len(body)) + body)


def receive(stream: socket.socket) -> dict[str, Any] | None:
    """The next message; None when the peer has closed the stream between messages.

    Raises:
        ParseError: the message is too large, cut off, or not a CBOR map.
    """
    head = exactly(stream, _LENGTH.size)
    if not head:
        return None
    (size,) = _LENGTH.unpack(head)
    if size > MAX_FRAME_BYTES:
        raise ParseError("frame", f"{size} bytes, expected at most {MAX_FRAME_BYTES}")
    return decode(exactly(stream, size))


def decode(body: bytes) -> dict[str, Any]:
    """The message in a frame's body. Raises ``ParseError``."""
    message = cbor.decode(body, MAX_FRAME_BYTES)
    if not isinstance(message, dict):
        raise ParseError("frame", "expected a map")
    return message


def request(stream: socket.socket, message: dict[str, Any]) -> dict[str, Any]:
    """Send ``message`` and give the answer.

    Raises:
        FrameworkError: the peer refused (its own line) or closed the stream.
    """
    send(stream, message)
    answer = receive(stream)
    if answer is None:
        raise FrameworkError(f"the peer closed the connection on {message.get('op')}")
    if "error" in answer:
        raise FrameworkError(str(answer["error"]))
    return answer


def exactly(stream: socket.socket, size: int) -> bytes:
    """``size`` bytes; empty when the stream ends before the first. Raises ``ParseError``."""
    data = bytearray()
    while len(data) < size:
        chunk = stream.recv(size - len(data))
        if not chunk:
            if data:
                raise ParseError("frame", f"cut off after {len(data)} of {size} bytes")
            return b""
        data += chunk
    return bytes(data)
