"""Reading bodies within bounds: each one's size and time, and what all of them hold together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from harness.framework.service import metrics
from harness.framework.service.problems import ProblemError
from harness.framework.service.settings import Limits

_DRAIN_S = 1.0


class Gate:
    """Lets in as many requests and bytes as the limits allow; the others are sent away at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pending = 0
        self._buffered = 0

    @asynccontextmanager
    async def body(self, request: Request, media_type: str, most: int) -> AsyncIterator[bytes]:
        """The body, which counts as held until the block ends.

        Raises:
            ProblemError: too many requests or bytes, larger than ``most`` bytes, too slow, or not
                of ``media_type``.
        """
        if self._pending >= self._limits.max_pending:
            raise ProblemError("busy", f"{self._pending} requests are being worked on")
        self._pending += 1
        metrics.PENDING.inc()
        held = bytearray()
        try:
            try:
                _check_head(request, media_type, most)
                await self._read(request, held, most)
            except ProblemError:
                # One that waits to be told to send has nothing on its way.
                if held or "expect" not in request.headers:
                    await _drain(request)
                raise
            yield bytes(held)
        finally:
            self._pending -= 1
            self._buffered -= len(held)
            metrics.PENDING.dec()

    async def _read(self, request: Request, held: bytearray, most: int) -> None:
        try:
            async with asyncio.timeout(self._limits.body_s):
                async for chunk in request.stream():
                    held += chunk
                    self._buffered += len(chunk)
                    if len(held) > most:
                        raise ProblemError("too-large", f"more than {most} bytes")
                    if self._buffered > self._limits.max_buffered:
                        raise ProblemError("busy", "too many bytes are being received")
        except TimeoutError:
            detail = f"the body was not there within {self._limits.body_s:g} s"
            raise ProblemError("slow", detail) from None
        except ClientDisconnect:
            detail = "the connection closed before the body's end"
            raise ProblemError("bad-request", detail) from None


def _check_head(request: Request, media_type: str, most: int) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise ProblemError("media-type", f"got {given[:60]!r}, expected {media_type}")
    # h11 has made sure that it is a number.
    length = int(request.headers.get("content-length", "0"))
    if length > most:
        raise ProblemError("too-large", f"{length} bytes, at most {most} are allowed")


async def _drain(request: Request) -> None:
    """Throw away what is still coming, for a moment: a client that sends does not read."""
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in request.stream():
                pass
