"""The tables of the state and the statements on them: to make one costs more than to run it."""

import sqlalchemy as sa

TABLES = sa.MetaData()
META = sa.Table("attestbench_schema", TABLES, sa.Column("version", sa.Integer, primary_key=True))
CHALLENGES = sa.Table(
    "challenges", TABLES,
    # Of the id, only its hash: the time that an index takes tells nothing about it.
    sa.Column("id_sha256", sa.LargeBinary(32), primary_key=True),
    sa.Column("nonce", sa.LargeBinary(64), nullable=False),
    sa.Column("instance", sa.String(128), nullable=False),
    sa.Column("issued_s", sa.Double, nullable=False),
    sa.Column("expires_s", sa.Double, nullable=False, index=True),
)  # fmt: skip
INSTANCES = sa.Table(
    "instances", TABLES,
    sa.Column("instance", sa.String(128), primary_key=True),
    sa.Column("ak_name", sa.LargeBinary(66), nullable=False, unique=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("accepted_s", sa.Double, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
)  # fmt: skip
REVOCATIONS = sa.Table(
    "revocations", TABLES,
    sa.Column("name", sa.LargeBinary(66), primary_key=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("revoked_s", sa.Double, nullable=False),
)  # fmt: skip

_open, _held, _gone = CHALLENGES.c, INSTANCES.c, REVOCATIONS.c

OPEN = sa.insert(CHALLENGES)
TAKE = (
    sa.delete(CHALLENGES)
    .where(_open.id_sha256 == sa.bindparam("of_id"))
    .returning(_open.nonce, _open.instance, _open.issued_s, _open.expires_s)
)
PURGE = sa.delete(CHALLENGES).where(_open.expires_s < sa.bindparam("before_s"))
COUNT = sa.select(sa.func.count()).select_from(CHALLENGES)
STANDINGS = (
    sa.select(_held.instance, _held.record, _held.version, _held.accepted_s, _gone.name)
    .select_from(INSTANCES.outerjoin(REVOCATIONS, _gone.name == _held.ak_name))
    .order_by(_held.instance)
)
STANDING = STANDINGS.where(_held.instance == sa.bindparam("of_instance"))
FIRST = sa.insert(INSTANCES).returning(_held.version)
NEXT = (
    sa.update(INSTANCES)
    .where(_held.instance == sa.bindparam("of_instance"))
    .where(_held.version == sa.bindparam("of_version"))
    .returning(_held.version)
)
REVOKE = sa.insert(REVOCATIONS)
REVOKED = sa.select(_gone.name).where(_gone.name.in_(sa.bindparam("names", expanding=True)))
REVOKED_ALL = sa.select(_gone.name, _gone.kind, _gone.revoked_s).order_by(_gone.revoked_s)
