"""The host's end of the guest's control port: lines in, answers out, bounded in size and time."""

import base64
import select
import socket
import textwrap
import time
from typing import Self

from harness.guest.machine.command import ControlPort
from harness.guest.machine.results import MAX_LINE, MAX_OUTPUT_BYTES

_BLOCK = 1 << 16
_COLUMNS = 76


class PortClosedError(Exception):
    """The guest stopped to listen, or said more than a guest may."""


class HostPort:
    """A pair of connected streams; QEMU inherits ``guest_end``. Use it as a context manager."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._buffer = bytearray()
        self._received = 0

    @property
    def guest_end(self) -> ControlPort:
        """What QEMU inherits."""
        return ControlPort(self._theirs.fileno())

    def line(self, process: int, deadline: float) -> bytes | None:
        """The next line without its newline; None once the process of that pidfd has ended.

        None too at the deadline. Raises PortClosedError when the guest sends too much.
        """
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_LINE:
                raise PortClosedError(f"a line of more than {MAX_LINE} bytes")
            if not self._fill(process, deadline):
                return None
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = rest
        return bytes(line)

    def send(self, content: bytes, deadline: float) -> None:
        """Send all of ``content``. Raises PortClosedError when the guest does not take it."""
        view = memoryview(content)
        poller = select.poll()
        poller.register(self._ours, select.POLLOUT)
        while view:
            left = deadline - time.monotonic()
            if left <= 0 or not poller.poll(left * 1000):
                raise PortClosedError("the guest does not read from its control port")
            try:
                view = view[self._ours.send(view) :]
            except OSError as error:
                raise PortClosedError(f"control port: {error.strerror}") from None

    def _fill(self, process: int, deadline: float) -> bool:
        """Read what has come; False when nothing more will."""
        poller = select.poll()
        poller.register(self._ours, select.POLLIN)
        poller.register(process, select.POLLIN)
        left = deadline - time.monotonic()
        ready = dict(poller.poll(left * 1000)) if left > 0 else {}
        if not ready:
            return False
        if self._ours.fileno() not in ready:
            return False
        try:
            block = self._ours.recv(_BLOCK)
        except OSError:
            return False
        self._received += len(block)
        if self._received > MAX_OUTPUT_BYTES:
            raise PortClosedError(f"more than {MAX_OUTPUT_BYTES} bytes of output")
        self._buffer += block
        return bool(block)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        self._theirs.close()


def job_message(job: bytes) -> bytes:
    """The job as the agent reads it from the port."""
    return b"job %d\n%s" % (len(job), job)


def nonce_message(nonce: bytes) -> bytes:
    """The answer to ``nonce?``."""
    return b"nonce %s\n" % nonce.hex().encode()


def report_message(report: bytes) -> bytes:
    """The answer to ``report?``."""
    lines = textwrap.wrap(base64.b64encode(report).decode(), _COLUMNS)
    return "\n".join([f"report {len(report)}", *lines, "end", ""]).encode()


def more_message(more: bool) -> bytes:
    """The answer to ``more?``."""
    return b"yes\n" if more else b"no\n"
