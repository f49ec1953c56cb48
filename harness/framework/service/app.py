"""The service's HTTP interface, one instance in each worker process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import json_text
from harness.framework.service import metrics, openapi
from harness.framework.service.appraisal import Answer, Appraiser, BusyError, UnknownChallengeError
from harness.framework.service.bodies import Gate
from harness.framework.service.envelope import LOG, Envelope, note
from harness.framework.service.keys import load_signing_key, public_pem
from harness.framework.service.policy_file import PolicyFile
from harness.framework.service.problems import ProblemError, problem
from harness.framework.service.settings import Settings
from harness.framework.service.store import Store, StoreError
from harness.framework.verify.ear import PROFILE

EVIDENCE_TYPE = "application/cbor"
EAR_TYPE = f'application/eat+jwt; eat_profile="{PROFILE}"'
_MAX_JSON = 4096
_R = TypeVar("_R")


class ChallengeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/challenges``."""

    instance: Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[!-~]+$")]


class Service:
    """The routes and what they share: one appraiser, one thread for each kind of work."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key = load_signing_key(settings.signing_key)
        self._store = Store(settings.state)
        self._policy = PolicyFile(settings.policy)
        self._appraiser = Appraiser(self._policy, self._store, self._key, settings.limits)
        self._gate = Gate(settings.limits)
        # Verification keeps a core busy, and its cache is for one thread.
        self._verifying = ThreadPoolExecutor(1, "verify")
        self._challenging = ThreadPoolExecutor(1, "challenge")

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/v1/challenges", self._challenge, methods=["POST"]),
            Route("/v1/challenges/{challenge_id}/evidence", self._evidence, methods=["POST"]),
            Route("/v1/key", self._public_key),
            Route("/healthz", self._health),
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._openapi),
            Route("/", self._page),
        ]
        return Starlette(
            routes=routes,
            middleware=[Middleware(Envelope)],
            exception_handlers={ProblemError: _on_problem, HTTPException: _on_http},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        self._verifying.shutdown()
        self._challenging.shutdown()
        self._store.close()

    async def _challenge(self, request: Request) -> Response:
        async with self._gate.body(request, "application/json", _MAX_JSON) as body:
            try:
                asked = json_text.decode(body, ChallengeRequest, "body")
            except ParseError as error:
                raise ProblemError("bad-request", str(error)) from None
            note(request, instance=asked.instance)
            issued = await _in(self._challenging, lambda: self._appraiser.challenge(asked.instance))
        metrics.CHALLENGES.inc()
        answer: dict[str, Any] = {
            "id": issued.challenge_id,
            "nonce": issued.nonce.hex(),
            "expires": issued.expires_s,
            "ima_prefix": None,
        }
        if issued.ima_prefix is not None:
            known = issued.ima_prefix
            answer["ima_prefix"] = {"entries": known.entries, "pcr": known.pcr.hex()}
        return JSONResponse(answer, 201)

    async def _evidence(self, request: Request) -> Response:
        most, challenge_id = self._settings.limits.max_evidence, request.path_params["challenge_id"]
        async with self._gate.body(request, EVIDENCE_TYPE, most) as body:
            note(request, bytes=len(body))
            answer = await _in(self._verifying, lambda: self._appraiser.answer(challenge_id, body))
        _count(answer)
        ids = [failure.id for failure in answer.result.failures]
        note(request, instance=answer.instance, accepted=answer.result.accepted, failures=ids)
        return Response(answer.ear, headers={"Content-Type": EAR_TYPE})

    async def _public_key(self, _request: Request) -> Response:
        return Response(public_pem(self._key), media_type="application/x-pem-file")

    async def _health(self, _request: Request) -> Response:
        await _in(self._challenging, lambda: (self._policy.current(), self._store.revoked(())))
        return JSONResponse({"status": "ok"})

    async def _metrics(self, _request: Request) -> Response:
        body = await _in(self._challenging, metrics.exposition)
        return Response(body, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _openapi(self, _request: Request) -> Response:
        return JSONResponse(openapi.document(self._settings.limits))

    async def _page(self, _request: Request) -> Response:
        return HTMLResponse(openapi.page(self._settings.limits))


def create_app(settings: Settings) -> Starlette:
    """The application of one worker process."""
    return Service(settings).app()


async def _in(executor: Executor, work: Callable[[], _R]) -> _R:
    """What ``work`` gives, run in a thread; its errors become problems."""
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    except UnknownChallengeError as error:
        raise ProblemError("unknown-challenge", str(error), failure="freshness.nonce") from None
    except BusyError as error:
        raise ProblemError("busy", str(error)) from None
    except (PolicyError, StoreError) as error:
        LOG.error("unavailable", extra={"fields": {"error": str(error)}})
        raise ProblemError("unavailable", "see the service's log") from None


def _count(answer: Answer) -> None:
    metrics.VERIFY_SECONDS.observe(answer.seconds)
    metrics.ATTESTATIONS.labels("accepted" if answer.result.accepted else "rejected").inc()
    for failure in {failure.id for failure in answer.result.failures}:
        metrics.FAILURES.labels(failure).inc()


def _on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem(error.kind, error.detail, **error.members)


def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        response = problem("method", f"{request.method} is not allowed here")
        response.headers.update(error.headers or {})
        return response
    return problem("not-found", "see / for what there is")
