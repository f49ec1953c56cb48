"""The verifier as a process of its own: challenges, judges, and says how long each stage took.

One connected unix stream. A frame is a length, one byte for its kind, and the content; evidence
is sent as it is, everything else as MessagePack.
"""

import gc
import itertools
import os
import secrets
import socket
import struct
import subprocess
import sys
import time
from typing import Self

import msgspec

from harness.framework.errors import FrameworkError
from harness.framework.lifetime import die_with_parent, end
from harness.framework.verify import (
    Challenge,
    Policy,
    Previous,
    VerificationCache,
    encode_policy,
    load_policy,
    verify,
)

CHALLENGE_LIFETIME_S = 60.0
_ANSWER_TIMEOUT_S = 60.0
_NONCE_BYTES = 32
_HEAD = struct.Struct(">IB")
_MAX_FRAME_BYTES = 256 * 1024 * 1024
_POLICY, _CHALLENGE, _EVIDENCE = 0, 1, 2


class Verdict(msgspec.Struct, frozen=True):
    """The answer to evidence. ``stages_ns``: time by stage; ``verifier_ns``: all of it."""

    accepted: bool
    failures: tuple[str, ...]
    trust_kind: str
    stages_ns: dict[str, int]
    verifier_ns: int


class StageClock:
    """Observer that turns "this stage begins" into nanoseconds per stage."""

    def __init__(self) -> None:
        self._marks: list[tuple[str, int]] = []

    def __call__(self, stage: str) -> None:
        """Note that ``stage`` begins now."""
        self._marks.append((stage, time.perf_counter_ns()))

    def durations(self) -> dict[str, int]:
        """Nanoseconds of each stage but the last, which only marks the end."""
        marks = self._marks
        return {stage: after - at for (stage, at), (_, after) in itertools.pairwise(marks)}


class VerifierClient:
    """Starts the process with ``policy`` and talks to it; use it as a context manager."""

    def __init__(self, policy: Policy) -> None:
        self._stream, theirs = socket.socketpair(socket.AF_UNIX)
        self._stream.settimeout(_ANSWER_TIMEOUT_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
            )
        _send(self._stream, _POLICY, encode_policy(policy))
        _receive(self._stream)

    def challenge(self) -> bytes:
        """A nonce that may be answered once, within ``CHALLENGE_LIFETIME_S``."""
        _send(self._stream, _CHALLENGE, b"")
        return bytes(_receive(self._stream)[1])

    def judge(self, evidence: bytes) -> Verdict:
        """Send evidence for the challenge given last."""
        _send(self._stream, _EVIDENCE, evidence)
        return msgspec.msgpack.decode(_receive(self._stream)[1], type=Verdict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        end(self._process)


class Verifier:
    """Issues single-use challenges and judges evidence against one policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        # Part of loading a policy, not of the first attestation.
        self._policy.digest  # noqa: B018
        self._cache = VerificationCache()
        self._open: Challenge | None = None
        self._previous: Previous | None = None

    def challenge(self) -> bytes:
        """A fresh nonce; it replaces one that was never answered."""
        now = time.time()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        self._open = Challenge(nonce, now, now + CHALLENGE_LIFETIME_S, self._previous)
        return nonce

    def judge(self, evidence: bytes) -> Verdict:
        """The verdict; a challenge is used up by the first answer, right or wrong."""
        begin = time.perf_counter_ns()
        challenge, self._open = self._open, None
        if challenge is None:
            return Verdict(False, ("freshness.nonce",), "none", {}, time.perf_counter_ns() - begin)
        clock = StageClock()
        result = verify(evidence, self._policy, challenge, time.time(), self._cache, observer=clock)
        self._previous = result.state or self._previous
        return Verdict(
            result.accepted,
            tuple(failure.id for failure in result.failures),
            result.trust_kind,
            clock.durations(),
            time.perf_counter_ns() - begin,
        )


def serve(stream: socket.socket) -> None:
    """Answer frames until the peer closes the stream."""
    kind, content = _receive(stream)
    if kind != _POLICY:
        raise FrameworkError("the verifier was asked before it had a policy")
    verifier = Verifier(load_policy(bytes(content)))
    gc.collect()
    gc.freeze()
    gc.disable()
    _send(stream, _POLICY, b"")
    while True:
        try:
            kind, content = _receive(stream)
        except EOFError:
            return
        if kind == _CHALLENGE:
            _send(stream, kind, verifier.challenge())
        else:
            _send(stream, kind, msgspec.msgpack.encode(verifier.judge(bytes(content))))


def _send(stream: socket.socket, kind: int, content: bytes) -> None:
    head = _HEAD.pack(len(content), kind)
    # One system call for what fits; large evidence isn't copied for the sake of its head.
    sent = stream.sendmsg([head, content])
    if sent < len(head) + len(content):
        stream.sendall(memoryview(content)[sent - len(head) :])


def _receive(stream: socket.socket) -> tuple[int, bytearray]:
    """Kind and content of the next frame. EOFError when the peer has closed the stream."""
    size, kind = _HEAD.unpack(_exactly(stream, _HEAD.size))
    if size > _MAX_FRAME_BYTES:
        raise FrameworkError(f"frame of {size} bytes, expected at most {_MAX_FRAME_BYTES}")
    return kind, _exactly(stream, size)


def _exactly(stream: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = stream.recv_into(view)
        if count == 0:
            raise EOFError("the verifier's stream closed")
        view = view[count:]
    return data


def main() -> None:
    """Serve the stream whose descriptor is the first argument; the second is our parent."""
    die_with_parent(int(sys.argv[2]))
    with socket.socket(fileno=int(sys.argv[1])) as stream:
        serve(stream)


if __name__ == "__main__":
    main()
