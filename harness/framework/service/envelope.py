"""Around every request: headers, metrics, the access log, and the last word on errors."""

import json
import logging
import time
import traceback
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harness.framework.service import metrics
from harness.framework.service.problems import problem

LOG = logging.getLogger("attestbench.service")
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
)


class Envelope:
    """ASGI middleware. What a client is told about a failure of ours is that there was one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            _log_failure(error)
            if not status:
                await problem("internal", "see the service's log")(
                    scope, receive, send_with_headers
                )
        finally:
            _account(scope, status, time.perf_counter() - begin)


def note(request: Request, **fields: Any) -> None:
    """Add to the request's line of the access log; nothing that is a secret."""
    request.scope.setdefault("attestbench.notes", {}).update(fields)


def _account(scope: Scope, status: int, seconds: float) -> None:
    # The pattern, never the path: a challenge's id is in it.
    route = getattr(scope.get("route"), "path", "other")
    metrics.REQUESTS.labels(route, status).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(seconds)
    client = scope.get("client")
    line = {
        "client": client[0] if client else "",
        "method": scope["method"],
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 3),
        **scope.get("attestbench.notes", {}),
    }
    LOG.info("request", extra={"fields": line})


def _log_failure(error: Exception) -> None:
    """Where it happened, but not its text, which may hold what a client sent."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{last.filename.rpartition('/')[2]}:{last.lineno}"
    LOG.error("failure", extra={"fields": {"error": type(error).__name__, "where": where}})


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of ``record``; its own fields come last."""
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "process": record.process,
            "event": " ".join(record.getMessage().split()),
            **getattr(record, "fields", {}),
        }
        return json.dumps(line)
