"""The guest's way to its secure processor: request layout of /dev/csv-guest over a unix socket.

A socket belongs to one guest. Whoever can open it gets that guest's measurement and no other, as
with the real device.
"""

import contextlib
import hmac
import secrets
import socket
import struct
import threading
from pathlib import Path

from harness.framework.errors import TeeError
from harness.framework.tee import sm2
from harness.framework.tee.csv_format import PAGE_SIZE
from harness.framework.tee.csv_processor import SoftwareGuest

_MAGIC = b"ATTESTATION_EXT\0"
_REQUEST, _EXTENDED_REQUEST = 112, 132
_TIMEOUT_S = 10.0
_STATUS_OK, _STATUS_REFUSED = 0, 1


def encode_request(report_data: bytes, mnonce: bytes, *, extended: bool = False) -> bytes:
    """What a guest writes into the page: data, mnonce, their SM3, and for V2 magic and flags."""
    request = report_data + mnonce + sm2.sm3(report_data + mnonce)
    return request + struct.pack("<16sI", _MAGIC, 1) if extended else request


def answer(guest: SoftwareGuest, request: bytes) -> bytes:
    """The report page for a request.

    Raises:
        TeeError: wrong size, hash, magic or flags.
    """
    if len(request) not in (_REQUEST, _EXTENDED_REQUEST):
        raise TeeError(
            f"request of {len(request)} bytes, expected {_REQUEST} or {_EXTENDED_REQUEST}"
        )
    if not hmac.compare_digest(sm2.sm3(request[:80]), request[80:112]):
        raise TeeError("the request's hash is wrong")
    extended = len(request) == _EXTENDED_REQUEST
    if extended and request[112:] != struct.pack("<16sI", _MAGIC, 1):
        raise TeeError("the request's extension has a wrong magic or unknown flags")
    return guest.report(request[:64], request[64:80], extended=extended)


def serve_guest(guest: SoftwareGuest, listener: socket.socket) -> None:
    """Answer requests of one guest on a listening unix socket until ``listener`` is shut down."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve_connection, args=(guest, connection), daemon=True).start()


class GuestDevice:
    """The guest's end: as ``/dev/csv-guest``, but a socket. Use as a context manager.

    One request at a time; the connection stays open.
    """

    def __init__(self, path: Path) -> None:
        """Connect. Raises TeeError: without its processor a guest must fail, never pretend."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_TIMEOUT_S)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise TeeError(f"{path}: the secure processor cannot be reached: {error}") from error

    @classmethod
    def from_socket(cls, stream: socket.socket) -> "GuestDevice":
        """The device over a connection that somebody else opened, as a container inherits it."""
        device = cls.__new__(cls)
        stream.settimeout(_TIMEOUT_S)
        device._socket = stream
        return device

    def __enter__(self) -> "GuestDevice":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def report(
        self, report_data: bytes, mnonce: bytes | None = None, *, extended: bool = False
    ) -> bytes:
        """A report page over 64 bytes of ``report_data``; the mnonce is random unless given.

        Raises:
            TeeError: the processor refuses, or the connection breaks.
        """
        mnonce = secrets.token_bytes(16) if mnonce is None else mnonce
        request = encode_request(report_data, mnonce, extended=extended)
        try:
            self._socket.sendall(struct.pack("<I", len(request)) + request)
            (status,) = struct.unpack("<I", _receive(self._socket, 4))
            if status != _STATUS_OK:
                raise TeeError("the secure processor refused the request")
            return _receive(self._socket, PAGE_SIZE)
        except OSError as error:
            raise TeeError(f"the secure processor does not answer: {error}") from error


def _serve_connection(guest: SoftwareGuest, connection: socket.socket) -> None:
    # A guest that goes away in the middle of a request only ends its own connection.
    with connection, contextlib.suppress(OSError):
        while True:
            (size,) = struct.unpack("<I", _receive(connection, 4))
            if size > _EXTENDED_REQUEST:
                return
            try:
                page = answer(guest, _receive(connection, size))
            except TeeError:
                connection.sendall(struct.pack("<I", _STATUS_REFUSED))
            else:
                connection.sendall(struct.pack("<I", _STATUS_OK) + page)


def _receive(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionResetError("the connection closed")
        parts += part
    return bytes(parts)
