"""TCTIs (TCG TSS 2.0) that every arm shares, so that ratios compare TPMs only."""

import socket
import ssl
import struct

from tpm2_pytss import PyTCTI

from harness.framework.errors import FrameworkError
from harness.framework.tpm.libtpms import MAX_COMMAND_BYTES, LibTpms

_HEADER_BYTES = 10
_COMMAND_TIMEOUT_S = 60


def bound_waiting(stream: socket.socket) -> None:
    """Let the kernel end a wait for a TPM: Python's own timeouts cost a poll per command."""
    limit = struct.pack("ll", _COMMAND_TIMEOUT_S, 0)
    stream.settimeout(None)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def read_message(stream: socket.socket, first: bytes = b"") -> bytes:
    """One whole TPM command or response from ``stream``; empty when the peer has closed it.

    Raises ``FrameworkError`` for a message that ends early or claims an impossible size.
    """
    message = first or stream.recv(MAX_COMMAND_BYTES)
    if not message:
        return b""
    while len(message) < _HEADER_BYTES:
        message += _more(stream)
    size = int.from_bytes(message[2:6], "big")
    if not _HEADER_BYTES <= size <= MAX_COMMAND_BYTES:
        raise FrameworkError(f"TPM message of {size} bytes, expected 10 to {MAX_COMMAND_BYTES}")
    while len(message) < size:
        message += _more(stream)
    if len(message) > size:
        raise FrameworkError(f"{len(message) - size} bytes after a TPM message")
    return message


def _more(stream: socket.socket) -> bytes:
    chunk = stream.recv(MAX_COMMAND_BYTES)
    if not chunk:
        raise FrameworkError("the connection to the TPM closed inside a message")
    return chunk


class StreamTcti(PyTCTI):  # type: ignore[misc]
    """Sends TPM commands over a connected stream: a swtpm socket or the attested channel.

    ``round_trips`` counts the commands sent; it costs one addition in every arm alike.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        # On an SSLSocket, ``sendall`` is Python that slices; ``write`` sends the whole record.
        self._send = stream.write if isinstance(stream, ssl.SSLSocket) else stream.sendall
        self.round_trips = 0
        super().__init__(max_size=MAX_COMMAND_BYTES)

    def do_transmit(self, command: bytes) -> None:
        """Send one command."""
        self.round_trips += 1
        self._send(command)

    def do_receive(self, timeout: int) -> bytes:  # noqa: ARG002 - set by the TCTI interface
        """Wait for the response; the stream's own timeout bounds it."""
        response = read_message(self._stream)
        if not response:
            raise FrameworkError("the TPM closed the connection")
        return response


class LocalTcti(PyTCTI):  # type: ignore[misc]
    """Sends TPM commands to the libtpms in this process."""

    def __init__(self, tpm: LibTpms) -> None:
        self._tpm = tpm
        self._response = b""
        super().__init__(max_size=MAX_COMMAND_BYTES)

    def do_transmit(self, command: bytes) -> None:
        """Run one command."""
        self._response = self._tpm.process(bytes(command))

    def do_receive(self, timeout: int) -> bytes:  # noqa: ARG002 - set by the TCTI interface
        """The response to the command that was run."""
        return self._response
