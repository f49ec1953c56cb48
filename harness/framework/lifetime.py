"""Processes end with the one that started them, however that one ends."""

import ctypes
import os
import signal
import subprocess
from types import FrameType

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send ``number`` to this process when ``parent``, its parent, dies.

    ``parent`` is what the parent says of itself: it may be gone before we could ask the kernel.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def end(process: "subprocess.Popen[bytes]", patience_s: float = 5.0) -> None:
    """Wait for a process that is ending by itself; kill it when it takes longer."""
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_group_with_parent(parent: int) -> None:
    """For the leader of a process group: end the whole group when the parent dies, or on SIGTERM.

    SIGKILL would leave the group's other processes, such as swtpm, running.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        os.killpg(os.getpgrp(), signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    die_with_parent(parent, signal.SIGTERM)
