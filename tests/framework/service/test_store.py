"""The state, over SQLite and PostgreSQL: what must happen once happens once, among processes."""

import multiprocessing
import stat
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TypeAlias

import pytest

from harness.framework.service.store import OpenChallenge, Record, Store, StoreError
from harness.framework.verify import Previous

AK, OTHER = b"\0\x0b" + bytes(32), b"\0\x0b" + b"\1" * 32
Results: TypeAlias = "multiprocessing.Queue[list[str]]"
_SPAWN = multiprocessing.get_context("spawn")


def challenge(expires_s: float = 10.0) -> OpenChallenge:
    return OpenChallenge(b"n" * 32, "pod-0", 1.5, expires_s)


def record(clock: int, ak_name: bytes = AK) -> Record:
    # The clock and counters of a TPM are unsigned, of 64 and 32 bits.
    return Record(Previous(2**32 - 1, 0, 2**64 - 1 - clock, 50, ak_name, 1.25), "host-a", b"h" * 34)


def test_a_challenge_is_taken_once_and_comes_back_whole(store: Store) -> None:
    store.open_challenge("id", challenge())
    assert store.take_challenge("other") is None
    assert store.take_challenge("id") == challenge()
    assert store.take_challenge("id") is None


def test_expired_challenges_are_purged_and_the_open_ones_counted(store: Store) -> None:
    for number in range(3):
        store.open_challenge(str(number), challenge(expires_s=10.0 + number))
    assert store.purge(10.5) == 2
    assert store.take_challenge("0") is None
    assert store.take_challenge("1") is not None


def test_what_was_accepted_is_kept_in_order(store: Store) -> None:
    assert store.standing("pod-0") is None
    assert store.accept("pod-0", None, record(1), 5.0) == "stored"
    assert store.accept("pod-0", None, record(2), 6.0) == "overtaken"
    assert store.accept("pod-0", 7, record(2), 6.0) == "overtaken"
    assert store.accept("pod-0", 1, record(2), 6.0) == "stored"
    standing = store.standing("pod-0")
    assert standing is not None
    assert (standing.record, standing.version, standing.accepted_s) == (record(2), 2, 6.0)
    assert [one.instance for one in store.standings()] == ["pod-0"]


def test_a_key_has_one_instance(store: Store) -> None:
    assert store.accept("pod-0", None, record(1), 5.0) == "stored"
    assert store.accept("pod-1", None, record(1), 5.0) == "other-instance"
    assert store.accept("pod-1", None, record(1, OTHER), 5.0) == "stored"
    assert store.accept("pod-1", 1, record(1), 5.0) == "other-instance"


def test_revocation_is_for_good_and_shows_with_the_instance(store: Store) -> None:
    store.accept("pod-0", None, record(1), 5.0)
    assert store.revoke(AK, "key", 8.0)
    assert not store.revoke(AK, "key", 9.0)
    assert store.revoke(b"host key", "host", 9.0)
    assert store.revoked((AK, OTHER)) == {AK}
    standing = store.standing("pod-0")
    assert standing is not None
    assert standing.revoked
    assert [(one.name, one.kind) for one in store.revocations()] == [
        (AK, "key"), (b"host key", "host")
    ]  # fmt: skip


def _take(store: Store, name: str) -> bool:
    return store.take_challenge(name) is not None


def _accept(store: Store, name: str) -> bool:
    done = store.accept(name, None, record(1, name.encode()), 1.0)
    assert done in ("stored", "overtaken")
    return done == "stored"


def test_processes_that_race_for_a_challenge_get_it_once(store: Store, state_url: str) -> None:
    names = [f"id-{number}" for number in range(60)]
    for name in names:
        store.open_challenge(name, challenge())
    winners = _race(_take, state_url, names)
    assert sorted(name for won in winners for name in won) == sorted(names)


def test_processes_that_race_for_an_instance_store_it_once(store: Store, state_url: str) -> None:
    names = [f"pod-{number}" for number in range(60)]
    winners = _race(_accept, state_url, names)
    assert sorted(name for won in winners for name in won) == sorted(names)
    assert {one.version for one in store.standings()} == {1}


def _racer(
    work: Callable[[Store, str], bool],
    url: str,
    names: list[str],
    barrier: Barrier,
    results: Results,
) -> None:
    store = Store(url)
    won = []
    for name in names:
        # All of them at once, for each name.
        barrier.wait(60)
        if work(store, name):
            won.append(name)
    results.put(won)
    store.close()


def _race(work: Callable[[Store, str], bool], url: str, names: list[str]) -> list[list[str]]:
    results: Results = _SPAWN.Queue()
    arguments = (work, url, names, _SPAWN.Barrier(3), results)
    racers = [_SPAWN.Process(target=_racer, args=arguments) for _ in range(3)]
    for racer in racers:
        racer.start()
    winners = [results.get(timeout=120) for _ in racers]
    for racer in racers:
        racer.join(30)
        assert racer.exitcode == 0
    return winners


def test_a_restart_keeps_what_was_accepted_and_ends_open_challenges(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.sqlite"
    url = f"sqlite:///{path}"
    for _ in range(2):
        store = Store(url)
        store.create()
        assert store.take_challenge("id") is None
        store.open_challenge("id", challenge())
        store.accept("pod-0", None, record(1), 5.0)
        assert store.standing("pod-0") is not None
        store.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "expected sqlite:///FILE"),
        ("sqlite://", "names no file"),
        ("postgresql://user:secret@127.0.0.1:1/x", "user:***@127.0.0.1"),
        ("sqlite:////proc/nowhere/x", "/proc/nowhere"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_in_one_line(url: str, says: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(url).create()
    text = str(caught.value)
    assert says in text
    assert "secret" not in text
    assert "\n" not in text


def test_another_schema_is_refused(store: Store, state_url: str, tmp_path: Path) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine(state_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE attestbench_schema SET version = 99"))
    engine.dispose()
    with pytest.raises(StoreError, match=r"schema \[99\], expected"):
        store.create()
