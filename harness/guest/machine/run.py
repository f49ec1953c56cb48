"""One guest's life: started, listened to, ended in any case, and judged by what it left behind."""

import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from harness.framework.lifetime import die_with_parent
from harness.guest.machine.command import Guest, qemu_command
from harness.guest.machine.port import HostPort, PortClosedError
from harness.guest.machine.results import (
    MAX_OUTPUT_BYTES,
    GuestOutputError,
    GuestResults,
    Query,
)
from harness.model.errors import EnvironmentError_

Answer = Callable[[Query], bytes]
Status = Literal["ok", "failed", "timeout"]

CONSOLE_BYTES = 64 * 1024
_FATAL = (b"Kernel panic", b"BUG: ", b"Oops: ", b"general protection fault")
_MAX_REASON = 300


class GuestEnd(NamedTuple):
    """How a guest ended. ``seconds``: of the host's clock, from start to end; ``console``: tail."""

    status: Status
    reason: str
    results: GuestResults
    seconds: float
    console: bytes


def run_guest(
    guest: Guest, timeout_s: float, port: HostPort | None = None, answer: Answer | None = None
) -> GuestEnd:
    """Boot ``guest`` and return when it is gone; nothing of it runs afterwards.

    The guest's words come from ``port``, on which ``answer`` answers its questions, or from its
    results file. ``ok`` takes the word DONE, no complaint, no panic, and an end in time: that QEMU
    ends without an error proves nothing. Call it from the main thread, whose death ends QEMU.
    Raises EnvironmentError_ when QEMU can't be started.
    """
    results = GuestResults()
    begin = time.monotonic()
    process = _start(guest)
    descriptor = os.pidfd_open(process.pid)
    problem = ""
    try:
        deadline = begin + timeout_s
        if port is not None:
            problem = _converse(port, results, answer, descriptor, deadline)
        finished = not problem and _wait(descriptor, deadline)
    finally:
        os.close(descriptor)
        process.kill()
        process.wait()
    seconds = time.monotonic() - begin
    if port is None and guest.results is not None:
        problem = _read_results(guest.results, results)
    console = _tail(guest.console, CONSOLE_BYTES)
    error = process.stderr.read(_MAX_REASON) if process.stderr else b""
    status, reason = _judge(results, console, problem, error, finished, timeout_s)
    return GuestEnd(status, reason, results, seconds, console)


def _start(guest: Guest) -> "subprocess.Popen[bytes]":
    inherited = () if guest.port is None else (guest.port.descriptor,)
    try:
        return subprocess.Popen(
            qemu_command(guest),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=inherited,
            preexec_fn=partial(_limited, os.getpid()),  # noqa: PLW1509 - no other threads here
        )
    except FileNotFoundError:
        raise EnvironmentError_(
            "qemu-system-x86_64 is not installed; get it with `apt-get install qemu-system-x86` "
            "or `dnf install qemu-system-x86-core`"
        ) from None


def _limited(parent: int) -> None:
    """In QEMU's process: end with us, and let no guest fill the disk through its serial ports."""
    die_with_parent(parent, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _converse(
    port: HostPort,
    results: GuestResults,
    answer: Answer | None,
    descriptor: int,
    deadline: float,
) -> str:
    """Take in lines until DONE or until the guest is gone; what went wrong, or ""."""
    try:
        while not results.done:
            line = port.line(descriptor, deadline)
            if line is None:
                return ""
            query = results.take(line)
            if query is not None:
                if answer is None:
                    return f"the guest asks {query.kind}, which nobody answers"
                port.send(answer(query), deadline)
    except (GuestOutputError, PortClosedError) as error:
        return str(error)
    return ""


def _wait(descriptor: int, deadline: float) -> bool:
    """Whether the process has ended by itself before the deadline."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    left = max(0.0, deadline - time.monotonic())
    return bool(poller.poll(left * 1000))


def _read_results(path: Path, results: GuestResults) -> str:
    try:
        output = path.read_bytes() if path.exists() else b""
        results.take_all(output)
    except GuestOutputError as error:
        return str(error)
    return ""


def _tail(path: Path, size: int) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read()


def _judge(
    results: GuestResults,
    console: bytes,
    problem: str,
    error: bytes,
    finished: bool,
    timeout_s: float,
) -> tuple[Status, str]:
    fatal = next((line for line in console.splitlines() if any(f in line for f in _FATAL)), None)
    if fatal is not None:
        return "failed", f"guest.panic {_printable(fatal)}"
    if results.failure:
        return "failed", f"guest.fail {results.failure[:_MAX_REASON]}"
    if problem:
        return "failed", f"guest.output {problem}"
    if not finished:
        said = "after DONE" if results.done else "without DONE"
        return "timeout", f"guest.timeout {timeout_s:g} s {said}"
    if not results.done:
        lines = [line for line in console.splitlines() if line.strip()]
        last = error or (lines[-1] if lines else b"no console output")
        return "failed", f"guest.end without DONE: {_printable(last)}"
    return "ok", ""


def _printable(line: bytes) -> str:
    text = line.decode("ascii", "replace").strip()
    return "".join(c if c.isprintable() else "?" for c in text)[:_MAX_REASON]
