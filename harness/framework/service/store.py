"""What a service remembers: open challenges, where each instance stood, and revocations.

One SQLite file or PostgreSQL database that all worker processes share. Whatever must happen once
is one statement, so that the database decides races.
"""

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from harness.framework.errors import FrameworkError
from harness.framework.verify import Previous

_SCHEMA = 1
_BUSY_TIMEOUT_MS = 10_000
_tables = sa.MetaData()
_meta = sa.Table("attestbench_schema", _tables, sa.Column("version", sa.Integer, primary_key=True))
_challenges = sa.Table(
    "challenges", _tables,
    # Of the id, only its hash: the time that an index takes tells nothing about it.
    sa.Column("id_sha256", sa.LargeBinary(32), primary_key=True),
    sa.Column("nonce", sa.LargeBinary(64), nullable=False),
    sa.Column("instance", sa.String(128), nullable=False),
    sa.Column("issued_s", sa.Double, nullable=False),
    sa.Column("expires_s", sa.Double, nullable=False, index=True),
)  # fmt: skip
_instances = sa.Table(
    "instances", _tables,
    sa.Column("instance", sa.String(128), primary_key=True),
    sa.Column("ak_name", sa.LargeBinary(66), nullable=False, unique=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("accepted_s", sa.Double, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
)  # fmt: skip
_revocations = sa.Table(
    "revocations", _tables,
    sa.Column("name", sa.LargeBinary(66), primary_key=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("revoked_s", sa.Double, nullable=False),
)  # fmt: skip

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
            self._engine = sa.create_engine(parsed, pool_pre_ping=self._file is None)
        except (SQLAlchemyError, ImportError) as error:
            raise StoreError(
                f"state: {_first_line(error)}; expected sqlite:///FILE or postgresql://… "
                "(which needs the extra `postgresql`)"
            ) from None
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
                _tables.create_all(connection)
                found = connection.scalars(sa.select(_meta.c.version)).all()
                if not found:
                    connection.execute(sa.insert(_meta).values(version=_SCHEMA))
                if self._file is not None:
                    connection.execute(sa.delete(_challenges))
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
        self._write(sa.insert(_challenges).values(values))

    def take_challenge(self, challenge_id: str) -> OpenChallenge | None:
        """The challenge, which nobody else gets; None if it was taken, purged, or never was."""
        taken = (
            sa.delete(_challenges)
            .where(_challenges.c.id_sha256 == _hash(challenge_id))
            .returning(*(_challenges.c[name] for name in OpenChallenge.__struct_fields__))
        )
        rows = self._write(taken)
        return OpenChallenge(*rows[0]) if rows else None

    def purge(self, now_s: float) -> int:
        """Forget challenges past their deadline; how many are still open."""
        self._write(sa.delete(_challenges).where(_challenges.c.expires_s < now_s))
        return int(self._read(sa.select(sa.func.count()).select_from(_challenges))[0][0])

    def standing(self, instance: str) -> Standing | None:
        """Where ``instance`` stood, None if nothing of it was ever accepted."""
        rows = self._read(_standings().where(_instances.c.instance == instance))
        return _standing(rows[0]) if rows else None

    def standings(self) -> list[Standing]:
        """Those of all instances, by name."""
        return [_standing(row) for row in self._read(_standings().order_by(_instances.c.instance))]

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
        change: sa.Insert | sa.Update
        if version is None:
            change = sa.insert(_instances).values(instance=instance, **values)
        else:
            where = (_instances.c.instance == instance) & (_instances.c.version == version)
            change = sa.update(_instances).where(where).values(values)
        try:
            done = self._write(change.returning(_instances.c.version))
        except IntegrityError:
            current = self.standing(instance)
            moved = current is not None and current.version != version
            return "overtaken" if moved else "other-instance"
        return "stored" if done else "overtaken"

    def revoke(self, name: bytes, kind: RevokedKind, now_s: float) -> bool:
        """Revoke a TPM Name for good; False if it was already."""
        try:
            self._write(sa.insert(_revocations).values(name=name, kind=kind, revoked_s=now_s))
        except IntegrityError:
            return False
        return True

    def revoked(self, names: Iterable[bytes]) -> frozenset[bytes]:
        """Those of ``names`` that are revoked."""
        rows = self._read(
            sa.select(_revocations.c.name).where(_revocations.c.name.in_(list(names)))
        )
        return frozenset(bytes(row[0]) for row in rows)

    def revocations(self) -> list[Revocation]:
        """All of them, the oldest first."""
        columns = (_revocations.c[name] for name in Revocation.__struct_fields__)
        rows = self._read(sa.select(*columns).order_by(_revocations.c.revoked_s))
        return [Revocation(bytes(name), kind, at) for name, kind, at in rows]

    def _write(self, statement: sa.Insert | sa.Update | sa.Delete | Any) -> list[Any]:
        """One statement, one transaction. IntegrityError is for the caller to understand."""
        try:
            with self._engine.begin() as connection:
                done = connection.execute(statement)
                return list(done.all()) if done.returns_rows else []
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise self._error(error) from None

    def _read(self, statement: sa.Select[Any]) -> list[Any]:
        try:
            with self._engine.connect() as connection:
                return list(connection.execute(statement).all())
        except SQLAlchemyError as error:
            raise self._error(error) from None

    def _error(self, error: Exception) -> StoreError:
        return StoreError(f"state {self._where}: {_first_line(error)}")


def _standings() -> sa.Select[Any]:
    with_revoked = _instances.outerjoin(_revocations, _revocations.c.name == _instances.c.ak_name)
    columns = _instances.c
    return sa.select(
        columns.instance, columns.record, columns.version, columns.accepted_s, _revocations.c.name
    ).select_from(with_revoked)


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
