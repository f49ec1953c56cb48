"""Runs the service: one parent, worker processes that share its listening socket and the state."""

import logging
import os
import shutil
import signal
import socket
import ssl
import tempfile
from collections.abc import Callable
from functools import partial

import msgspec
import uvicorn
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess

from harness.framework.errors import FrameworkError
from harness.framework.lifetime import die_with_parent
from harness.framework.service.app import create_app
from harness.framework.service.connection import BoundedProtocol
from harness.framework.service.envelope import JsonLines
from harness.framework.service.keys import load_signing_key
from harness.framework.service.policy_file import PolicyFile
from harness.framework.service.settings import Settings
from harness.framework.service.store import Store

_BACKLOG = 1024
_MAX_HEAD = 16 * 1024
_SILENT_S = 60


class ServiceConfig(uvicorn.Config):
    """uvicorn's configuration with our settings, for the protocol to find."""

    def __init__(self, settings: Settings, workers: int) -> None:
        self.settings = settings
        super().__init__(
            partial(_worker, settings),
            factory=True,
            http=BoundedProtocol,
            ws="none",
            workers=workers,
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.limits.idle_s,
            timeout_graceful_shutdown=settings.limits.stop_s,
            # A worker that is slow to start must not be replaced by one that starts as slowly.
            timeout_worker_healthcheck=_SILENT_S,
            h11_max_incomplete_event_size=_MAX_HEAD,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.certificate_key,
            ssl_cert_reqs=ssl.CERT_REQUIRED if settings.client_ca else ssl.CERT_NONE,
            ssl_ca_certs=settings.client_ca,
            ssl_context_factory=_tls_1_3,
        )


def serve(
    settings: Settings, host: str, port: int, workers: int, ready: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is being answered.

    ``ready`` gets the URL once the socket listens, before the workers have started.

    Raises:
        FrameworkError: a key, the policy, the state or the address can't be used.
    """
    settings = msgspec.structs.replace(settings, parent=os.getpid())
    load_signing_key(settings.signing_key)
    PolicyFile(settings.policy).current()
    store = Store(settings.state)
    store.create()
    store.close()
    config = ServiceConfig(settings, workers)
    _check_tls(settings)
    listener = listen(host, port)
    folder = tempfile.mkdtemp(prefix="attestbench-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    try:
        ready(f"https://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}")
        Multiprocess(config, [listener]).run()
    finally:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)


def _check_tls(settings: Settings) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = f"{settings.certificate} with {settings.certificate_key}"
    try:
        context.load_cert_chain(settings.certificate, settings.certificate_key)
        if settings.client_ca is not None:
            files = str(settings.client_ca)
            context.load_verify_locations(settings.client_ca)
    except OSError as error:
        # OpenSSL's own words name no file and mean little.
        reason = "not what TLS needs" if isinstance(error, ssl.SSLError) else error.strerror
        raise FrameworkError(f"{files}: {reason}; expected PEM files of one key") from None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket for the workers. Raises ``FrameworkError``."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        # Inherited by connections: an answer's body must not wait 40 ms for its head's ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise FrameworkError(f"{host}:{port}: cannot listen: {error.strerror}") from None


def _worker(settings: Settings) -> Starlette:
    """In a worker process, before it serves."""
    die_with_parent(settings.parent, signal.SIGTERM)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return create_app(settings)


def _tls_1_3(_config: uvicorn.Config, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = make()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
