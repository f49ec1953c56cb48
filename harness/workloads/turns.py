"""Taking turns: the trials of an interleaved block are all alive, and one of them works at a time.

Machines that others share change speed within seconds. Arms that alternate every few iterations
see the same changes, so that their ratio does not.
"""

import random
import select
import socket
from collections.abc import Callable

from harness.model.errors import EnvironmentError_

# One switch disturbs caches; four iterations in a row keep that small, and still alternate
# faster than such a machine changes.
ITERATIONS_PER_TURN = 4
_READY, _GO = b"r", b"g"


class Turns:
    """A trial's end. Without a descriptor (a sequential trial) every turn is granted at once."""

    def __init__(self, descriptor: int) -> None:
        self._stream = None if descriptor < 0 else socket.socket(fileno=descriptor)

    def next(self) -> None:
        """Give the turn back, and wait for the next one."""
        if self._stream is None:
            return
        self._stream.sendall(_READY)
        if self._stream.recv(1) != _GO:
            raise EnvironmentError_("the controller of the block is gone")

    def close(self) -> None:
        """Take no more turns."""
        if self._stream is not None:
            self._stream.close()


def conduct(streams: list[socket.socket], seed: int, left_s: Callable[[], float]) -> None:
    """Grant turns until every trial has closed its stream or no time is left.

    Each round gives every trial that still takes turns one, in an order drawn for that round.
    """
    rng = random.Random(seed)  # noqa: S311 - an order, not a secret
    taking = [stream for stream in streams if _ready(stream, left_s)]
    while taking:
        rng.shuffle(taking)
        for stream in list(taking):
            try:
                stream.sendall(_GO)
            except OSError:
                taking.remove(stream)
                continue
            if not _ready(stream, left_s):
                taking.remove(stream)


def _ready(stream: socket.socket, left_s: Callable[[], float]) -> bool:
    """Whether the trial asks for a turn before it ends or time is up."""
    readable, _, _ = select.select([stream], [], [], max(0.0, left_s()))
    try:
        return bool(readable) and stream.recv(1) == _READY
    except OSError:
        return False
