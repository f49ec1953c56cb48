"""A running service, its attesters, and the two kinds of database."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.framework.service.store import Store
from harness.workloads.software_attesters import SoftwareFleet

from .running import Running

_POSTGRESQL_BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> SoftwareFleet:
    return SoftwareFleet(tmp_path_factory.mktemp("fleet") / "processor", ima_entries=40)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a private cluster on a unix socket, made for this run."""
    pg_ctl = next((str(path / "pg_ctl") for path in _POSTGRESQL_BIN), shutil.which("pg_ctl"))
    assert pg_ctl, "PostgreSQL is missing: scripts/setup.sh installs it"
    with tempfile.TemporaryDirectory(prefix="abpg-") as name:
        folder = Path(name)
        # It refuses to run as root; Debian's package makes this user.
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if user:
            shutil.chown(folder, "postgres")
        data = folder / "data"
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        command = [*user, pg_ctl, "-D", str(data), "-s"]
        init = [*command, "initdb", "-o", "--auth=trust --username=attestbench"]
        subprocess.run(init, check=True, capture_output=True, cwd=folder)
        start = [*command, "-w", "-l", str(folder / "log"), "-o", options, "start"]
        subprocess.run(start, check=True, capture_output=True, cwd=folder)
        try:
            yield f"postgresql://attestbench@/postgres?host={folder}"
        finally:
            stop = [*command, "-m", "immediate", "stop"]
            subprocess.run(stop, check=True, capture_output=True, cwd=folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state' / 'state.sqlite'}"
    url: str = request.getfixturevalue("postgresql")
    empty(url)
    return url


def empty(url: str) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()


@pytest.fixture
def store(state_url: str) -> Iterator[Store]:
    made = Store(state_url)
    made.create()
    yield made
    made.close()


@pytest.fixture(scope="module")
def service(fleet: SoftwareFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two worker processes over SQLite."""
    with Running(tmp_path_factory.mktemp("service"), fleet.policy(), workers=2) as running:
        yield running
