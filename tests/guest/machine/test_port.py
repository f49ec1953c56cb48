"""The control port, with a socket in the guest's place."""

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from harness.guest.machine.port import (
    HostPort,
    PortClosedError,
    job_message,
    more_message,
    nonce_message,
    report_message,
)


@pytest.fixture
def port() -> Iterator[HostPort]:
    with HostPort() as port:
        yield port


@pytest.fixture
def guest(port: HostPort) -> Iterator[socket.socket]:
    with socket.socket(fileno=os.dup(port.guest_end.descriptor)) as stream:
        yield stream


@pytest.fixture
def alive() -> Iterator[int]:
    descriptor = os.pidfd_open(os.getpid())
    yield descriptor
    os.close(descriptor)


def soon() -> float:
    return time.monotonic() + 5


def test_lines_come_whole(port: HostPort, guest: socket.socket, alive: int) -> None:
    guest.sendall(b"nonce?\nsam")
    assert port.line(alive, soon()) == b"nonce?"
    guest.sendall(b"ple\n")
    assert port.line(alive, soon()) == b"sample"


def test_silence_ends_at_the_deadline(port: HostPort, alive: int) -> None:
    begin = time.monotonic()
    assert port.line(alive, begin + 0.1) is None
    assert time.monotonic() - begin < 2


def test_a_line_without_end_is_refused(port: HostPort, guest: socket.socket, alive: int) -> None:
    guest.sendall(b"x" * 500)
    with pytest.raises(PortClosedError, match="more than 400 bytes"):
        port.line(alive, soon())


def test_a_guest_that_does_not_listen_is_not_waited_for(port: HostPort) -> None:
    with pytest.raises(PortClosedError, match="does not read"):
        port.send(bytes(1 << 22), time.monotonic() + 0.2)


def test_large_jobs_arrive(port: HostPort, guest: socket.socket) -> None:
    job = b"# a comment\n" * 40_000
    sender = threading.Thread(target=port.send, args=(job_message(job), soon()))
    sender.start()
    received = bytearray()
    while len(received) < len(job_message(job)):
        received += guest.recv(1 << 16)
    sender.join()
    assert bytes(received) == b"job %d\n%s" % (len(job), job)


def test_messages() -> None:
    assert nonce_message(b"\1\2") == b"nonce 0102\n"
    assert report_message(bytes(60)) == b"report 60\n" + b"A" * 76 + b"\nAAAA\nend\n"
    assert (more_message(True), more_message(False)) == (b"yes\n", b"no\n")
