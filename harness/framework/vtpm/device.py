"""A TPM device for QEMU: ``-tpmdev emulator`` on one side, a vTPM's stream on the other.

QEMU speaks swtpm's control protocol (its ``backends/tpm/tpm_ioctl.h``): a command number and its
fields, big-endian, answered by a result and its fields. TPM commands travel on a second stream
that QEMU hands over.

The device runs on the host, which is not trusted: it can reset the TPM or change what the guest
measures. A verifier must have the quote and both logs bound in the guest's own TEE report.
"""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Self

from harness.framework.errors import FrameworkError
from harness.framework.tpm.libtpms import MAX_COMMAND_BYTES
from harness.framework.tpm.tcti import read_message


class _Command(IntEnum):
    GET_CAPABILITY = 0x01
    INIT = 0x02
    SHUTDOWN = 0x03
    GET_ESTABLISHED = 0x04
    SET_LOCALITY = 0x05
    RESET_ESTABLISHED = 0x0B
    STOP = 0x0E
    SET_DATA_FD = 0x10
    SET_BUFFER_SIZE = 0x11


_FIELDS_BYTES = {
    _Command.INIT: 4,
    _Command.SET_LOCALITY: 4,
    _Command.RESET_ESTABLISHED: 4,
    _Command.SET_BUFFER_SIZE: 4,
}
# The bits of the commands above. Not among them: hashing at locality 4, cancelling, and state
# blobs, so that no snapshot or migration can copy the TPM.
_CAPABILITIES = sum(1 << bit for bit in (0, 1, 2, 3, 7, 10, 12, 13))
_OK, _FAIL, _BAD_ORDINAL, _BAD_LOCALITY = 0, 9, 10, 61
# TPM2_ST_NO_SESSIONS, ten bytes, TPM_RC_FAILURE: also how QEMU learns that this is a TPM 2.0.
_FAILURE = struct.pack(">HII", 0x8001, 10, 0x101)
_LEAST_BUFFER_BYTES = 1024
_U32 = struct.Struct(">I")


class TpmDevice:
    """Listens on ``path``; ``power_on`` gives a stream to a TPM that awaits TPM2_Startup.

    QEMU switches the TPM on whenever the machine is reset. One machine at a time; the next may
    connect once the last is gone. Only locality 0 exists: the channel carries no other.
    ``power_ons`` counts, and ``failure`` is why the TPM was lost, "" while it was not.
    """

    def __init__(self, path: Path, power_on: Callable[[], socket.socket]) -> None:
        self.path = path
        self.power_ons = 0
        self.failure = ""
        self._power_on = power_on
        self._tpm: socket.socket | None = None
        self._turn = threading.Lock()
        self._room = MAX_COMMAND_BYTES
        self._listener = socket.socket(socket.AF_UNIX)
        path.unlink(missing_ok=True)
        try:
            self._listener.bind(str(path))
        except OSError as error:
            raise FrameworkError(f"{path}: cannot listen: {error}; use a shorter folder") from error
        os.chmod(path, 0o600)
        self._listener.listen(1)
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Switch the TPM off and stop listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._off()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            try:
                control, _ = self._listener.accept()
            except OSError:
                return
            with control, contextlib.suppress(OSError):
                self._serve(control)
            self._off()

    def _serve(self, control: socket.socket) -> None:
        """Answer one machine until it leaves."""
        while True:
            head, descriptors, _, _ = socket.recv_fds(control, _U32.size, 1)
            if len(head) < _U32.size:
                return
            (command,) = _U32.unpack(head)
            size = _FIELDS_BYTES.get(command, 0)
            fields = control.recv(size, socket.MSG_WAITALL) if size else b""
            if len(fields) < size:
                return
            data = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            control.sendall(self._answer(command, fields, data))

    def _answer(self, command: int, fields: bytes, data: list[socket.socket]) -> bytes:
        """The response; a failed command of those that QEMU needs has no fields beside."""
        match command:
            case _Command.GET_CAPABILITY:
                return struct.pack(">Q", _CAPABILITIES)
            case _Command.INIT:
                return _U32.pack(self._on())
            case _Command.STOP | _Command.SHUTDOWN:
                self._off()
            case _Command.GET_ESTABLISHED:
                return bytes(8)  # the bit, which only locality 4 could set, and padding
            case _Command.SET_LOCALITY if fields[0]:
                return _U32.pack(_BAD_LOCALITY)
            case _Command.SET_BUFFER_SIZE:
                (wanted,) = _U32.unpack(fields)
                if wanted:
                    self._room = min(max(wanted, _LEAST_BUFFER_BYTES), MAX_COMMAND_BYTES)
                return struct.pack(">IIII", _OK, self._room, _LEAST_BUFFER_BYTES, MAX_COMMAND_BYTES)
            case _Command.SET_DATA_FD if data:
                threading.Thread(target=self._relay, args=(data[0],), daemon=True).start()
            case _Command.SET_LOCALITY | _Command.RESET_ESTABLISHED:
                pass
            case _:
                return _U32.pack(_BAD_ORDINAL)
        return _U32.pack(_OK)

    def _on(self) -> int:
        self._off()
        try:
            self._tpm = self._power_on()
        except (OSError, FrameworkError) as error:
            self.failure = f"cannot be switched on: {error}"
            return _FAIL
        self.power_ons += 1
        return _OK

    def _off(self) -> None:
        with self._turn:
            if self._tpm is not None:
                self._tpm.close()
            self._tpm = None

    def _relay(self, data: socket.socket) -> None:
        """Carry commands and responses until the machine closes the data stream."""
        with data, contextlib.suppress(OSError, FrameworkError):
            while command := read_message(data):
                with self._turn:
                    response = self._response(command)
                data.sendall(response)

    def _response(self, command: bytes) -> bytes:
        if self._tpm is None:
            return _FAILURE
        try:
            self._tpm.sendall(command)
            response = read_message(self._tpm)
            if not response:
                raise FrameworkError("its service closed the connection")
        except (OSError, FrameworkError) as error:
            self.failure = f"lost while it was in use: {error}"
            return _FAILURE
        # QEMU reads a response into a buffer of the size that it told us, without looking.
        return response if len(response) <= self._room else _FAILURE
