"""Errors as clients see them: problem details (RFC 9457), one line of JSON."""

import json
from typing import Any

from starlette.responses import Response

_TYPE_PREFIX = "urn:attestbench:problem:"
RETRY_AFTER_S = 1

# By the last part of the type: status and title.
PROBLEMS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request isn't of the expected form"),
    "unknown-challenge": (404, "No such challenge is open"),
    "not-found": (404, "There is nothing here"),
    "method": (405, "The method isn't allowed here"),
    "slow": (408, "The request took too long to arrive"),
    "too-large": (413, "The body is too large"),
    "media-type": (415, "The body is of another media type"),
    "internal": (500, "The service failed"),
    "busy": (503, "Too much is going on; try again"),
    "unavailable": (503, "The service can't use its policy or its state"),
}


class ProblemError(Exception):
    """Ends a request with a problem; ``detail`` goes to the client."""

    def __init__(self, kind: str, detail: str, **members: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.members = members


def problem_bytes(kind: str, detail: str, **members: str) -> bytes:
    """The body of a problem of a ``kind`` of :data:`PROBLEMS`."""
    status, title = PROBLEMS[kind]
    fields: dict[str, Any] = {"type": _TYPE_PREFIX + kind, "title": title, "status": status}
    return json.dumps({**fields, "detail": " ".join(detail.split()), **members}).encode() + b"\n"


def problem(kind: str, detail: str, **members: str) -> Response:
    """The response for a problem. It closes the connection: there may be more of a body to come."""
    status = PROBLEMS[kind][0]
    headers = {"Connection": "close"}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    body = problem_bytes(kind, detail, **members)
    return Response(body, status, headers, media_type="application/problem+json")
