"""What a service remembers: open challenges, where each instance stood, and revocations.

One SQLite file or PostgreSQL database that all worker processes share. Whatever must happen once
is one statement, so that the database decides races.
"""

import contextlib
import os
import threading
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from harness.framework.errors import FrameworkError
from harness.framework.service import tables
from harness.framework.verify import Previous

_SCHEMA = 1
_BUSY_TIMEOUT_MS = 10_000
Accepting = Literal["stored", "overtaken", "other-instance"]
RevokedKind = Literal["key", "host"]


class StoreError(FrameworkError):
    """The database can't be used; names it without its password."""


class OpenChallenge(msgspec.Struct, frozen=True):
    """A challenge that nobody has answered. Times are seconds since 1970."""

    nonce: bytes
    instance: str
    issued_s: float
    expires_s: float


class Record(msgspec.Struct, frozen=True):
    """The last accepted evidence of an instance: where it stood, its host and the host's key."""

    previous: Previous
    host: str
    host_key: bytes


class Standing(msgspec.Struct, frozen=True):
    """A stored record; ``revoked``: its key is. ``version`` counts what was accepted."""

    instance: str
    record: Record
    version: int
    accepted_s: float
    revoked: bool


class Revocation(msgspec.Struct, frozen=True):
    """A revoked TPM Name: of a vTPM's attestation key, or of a host's."""

    name: bytes
    kind: RevokedKind
    revoked_s: float


class Store:
    """One connection pool. Every method raises ``StoreError`` when the database fails.

    ``durable``: SQLite writes to the disk before it answers, not soon after (PostgreSQL always
    does, unless it is configured otherwise).
    """

    def __init__(self, url: str, *, durable: bool = False) -> None:
        try:
            parsed = sa.make_url(url)
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            self._where = parsed.render_as_string(hide_password=True)
            sqlite = parsed.get_backend_name() == "sqlite"
            self._file = (parsed.database or ":memory:") if sqlite else None
            self._engine = sa.create_engine(
                parsed, isolation_level="AUTOCOMMIT", pool_pre_ping=self._file is None
            )
        except (SQLAlchemyError, ImportError) as error:
            raise StoreError(
                f"state: {_first_line(error)}; expected sqlite:///FILE or postgresql://… "
                "(which needs the extra `postgresql`)"
            ) from None
        self._writing = threading.Lock()
        if self._file == ":memory:":
            raise StoreError(f"state {url}: names no file; every worker process needs the same one")
        if self._file is not None:
            synchronous = "FULL" if durable else "NORMAL"
            sa.event.listen(self._engine, "connect", _sqlite_connect(synchronous))

    def create(self) -> None:
        """Make the tables where they are missing. A SQLite file is its owner's alone.

        There, open challenges end: after a power cut, one that was answered could be back.
        """
        try:
            if self._file is not None:
                Path(self._file).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600))
            with self._engine.begin() as connection:
                tables.TABLES.create_all(connection)
                found = connection.scalars(sa.select(tables.META.c.version)).all()
                if not found:
                    connection.execute(sa.insert(tables.META).values(version=_SCHEMA))
                if self._file is not None:
                    connection.execute(sa.delete(tables.CHALLENGES))
        except (SQLAlchemyError, OSError) as error:
            raise self._error(error) from None
        if list(found) not in ([], [_SCHEMA]):
            raise StoreError(f"{self._where}: schema {list(found)}, expected {_SCHEMA}")

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def open_challenge(self, challenge_id: str, challenge: OpenChallenge) -> None:
        """Remember a challenge until it is taken or purged."""
        values = {"id_sha256": _hash(challenge_id), **msgspec.structs.asdict(challenge)}
        self._run(tables.OPEN, values)

    def take_challenge(self, challenge_id: str) -> OpenChallenge | None:
        """The challenge, which nobody else gets; None if it was taken, purged, or never was."""
        rows = self._run(tables.TAKE, {"of_id": _hash(challenge_id)})
        return OpenChallenge(*rows[0]) if rows else None

    def purge(self, now_s: float) -> int:
        """Forget challenges past their deadline; how many are still open."""
        self._run(tables.PURGE, {"before_s": now_s})
        return int(self._run(tables.COUNT)[0][0])

    def standing(self, instance: str) -> Standing | None:
        """Where ``instance`` stood, None if nothing of it was ever accepted."""
        rows = self._run(tables.STANDING, {"of_instance": instance})
        return _standing(rows[0]) if rows else None

    def standings(self) -> list[Standing]:
        """Those of all instances, by name."""
        return [_standing(row) for row in self._run(tables.STANDINGS)]

    def accept(self, instance: str, version: int | None, record: Record, now_s: float) -> Accepting:
        """Store ``record`` if ``instance`` is still at ``version`` (None: not there).

        ``other-instance``: its key already belongs to another one.
        """
        values: dict[str, Any] = {
            "ak_name": record.previous.ak_name,
            "version": (version or 0) + 1,
            "accepted_s": now_s,
            "record": msgspec.msgpack.encode(record),
        }
        try:
            if version is None:
                done = self._run(tables.FIRST, {"instance": instance, **values})
            else:
                where = {"of_instance": instance, "of_version": version}
                done = self._run(tables.NEXT, {**where, **values})
        except IntegrityError:
            current = self.standing(instance)
            moved = current is not None and current.version != version
            return "overtaken" if moved else "other-instance"
        return "stored" if done else "overtaken"

    def revoke(self, name: bytes, kind: RevokedKind, now_s: float) -> bool:
        """Revoke a TPM Name for good; False if it was already."""
        try:
            self._run(tables.REVOKE, {"name": name, "kind": kind, "revoked_s": now_s})
        except IntegrityError:
            return False
        return True

    def revoked(self, names: Iterable[bytes]) -> frozenset[bytes]:
        """Those of ``names`` that are revoked."""
        rows = self._run(tables.REVOKED, {"names": list(names)})
        return frozenset(bytes(row[0]) for row in rows)

    def revocations(self) -> list[Revocation]:
        """All of them, the oldest first."""
        rows = self._run(tables.REVOKED_ALL)
        return [Revocation(bytes(name), kind, at) for name, kind, at in rows]

    def _run(self, statement: sa.Executable, values: dict[str, Any] | None = None) -> list[Any]:
        """One statement, which is its own transaction. IntegrityError is for the caller."""
        # Threads that wait for SQLite itself sleep longer than it takes.
        turn = self._writing if statement.is_dml and self._file else contextlib.nullcontext()
        try:
            with turn, self._engine.connect() as connection:
                done = connection.execute(statement, values)
                return list(done.all()) if done.returns_rows else []
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise self._error(error) from None

    def _error(self, error: Exception) -> StoreError:
        return StoreError(f"state {self._where}: {_first_line(error)}")


def _standing(row: Any) -> Standing:
    instance, record, version, accepted_s, revoked = row
    decoded = msgspec.msgpack.decode(record, type=Record)
    return Standing(instance, decoded, version, accepted_s, revoked is not None)


def _sqlite_connect(synchronous: str) -> Any:
    def connect(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.close()

    return connect


def _hash(challenge_id: str) -> bytes:
    return sha256(challenge_id.encode()).digest()


def _first_line(error: Exception) -> str:
    """The driver's own words, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
