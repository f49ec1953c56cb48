"""What a service is started with; every worker process gets a copy."""

from pathlib import Path
from typing import Annotated

import msgspec

from harness.framework.evidence.bundle import MAX_EVIDENCE_SIZE

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one worker process.

    ``max_evidence`` bytes in one body, ``max_buffered`` in all of them; ``max_pending`` requests
    are worked on or wait, ``max_connections`` are open. A request's head and its body must each be
    there within ``head_s`` and ``body_s`` seconds, and a connection may be idle for ``idle_s``.
    ``max_challenges`` may be open in the store, each for ``challenge_s`` seconds.
    """

    max_evidence: _Count = MAX_EVIDENCE_SIZE
    max_buffered: _Count = 8 * MAX_EVIDENCE_SIZE
    max_pending: _Count = 64
    max_connections: _Count = 1024
    max_challenges: _Count = 100_000
    challenge_s: _Seconds = 60.0
    head_s: _Seconds = 10.0
    body_s: _Seconds = 30.0
    idle_s: _Count = 30
    stop_s: _Count = 30


class Settings(msgspec.Struct, frozen=True):
    """``state`` is a SQLAlchemy URL; the files are PEM. With ``client_ca``, attesters must show a
    certificate of it. ``parent`` is the process whose end ends the workers."""

    policy: Path
    state: str
    certificate: Path
    certificate_key: Path
    signing_key: Path
    client_ca: Path | None = None
    limits: Limits = Limits()
    parent: int = 0
