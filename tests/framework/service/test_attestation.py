"""Challenge, evidence and result over HTTPS, with two worker processes that share their state."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.framework.service.store import Store
from harness.workloads.software_attesters import Clock, SoftwareFleet

from .running import Reply, Running, now


def test_good_evidence_is_accepted_by_every_worker(service: Running, fleet: SoftwareFleet) -> None:
    attester = fleet.attester("good")
    for _ in range(6):
        assert service.attest(attester) == set()
    workers = {
        line.split('"process": ')[1].split(",")[0]
        for line in service.log.read_text().splitlines()
        if '"instance": "good", "accepted": true' in line
    }
    assert len(workers) >= 1
    store = Store(service.state)
    standing = store.standing("good")
    store.close()
    assert standing is not None
    assert (standing.version, standing.record.previous.ak_name) == (6, attester.ak_name)


def test_the_result_verifies_with_openssl(
    service: Running, fleet: SoftwareFleet, tmp_path: object
) -> None:
    """ES256 has r and s side by side; openssl wants them in DER."""
    import base64
    from pathlib import Path

    attester = fleet.attester("openssl")
    challenge_id, nonce = service.challenge(attester.instance)
    reply = service.answer(challenge_id, attester.evidence(nonce, now()))
    assert reply.headers["content-type"].startswith("application/eat+jwt")
    head, body, signature = reply.body.decode().split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    numbers = b"".join(_der_integer(half) for half in (raw[:32], raw[32:]))
    folder = Path(str(tmp_path))
    (folder / "signature").write_bytes(b"\x30" + bytes([len(numbers)]) + numbers)
    (folder / "signed").write_text(f"{head}.{body}")
    (folder / "key").write_bytes(service.request("GET", "/v1/key").body)
    command = ["openssl", "dgst", "-sha256", "-verify", str(folder / "key"), "-signature"]
    done = subprocess.run(
        [*command, str(folder / "signature"), str(folder / "signed")],
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"Verified OK\n"


def _der_integer(raw: bytes) -> bytes:
    value = raw.lstrip(b"\0")
    value = b"\0" + value if value[0] & 0x80 else value
    return bytes([2, len(value)]) + value


def test_t07_a_challenge_is_answered_once(service: Running, fleet: SoftwareFleet) -> None:
    attester = fleet.attester("once")
    challenge_id, nonce = service.challenge("once")
    evidence = attester.evidence(nonce, now())
    assert service.failures(service.answer(challenge_id, evidence)) == set()
    again = service.answer(challenge_id, evidence)
    assert (again.status, again.json["failure"]) == (404, "freshness.nonce")


def test_t07_of_many_answers_at_once_one_counts(service: Running, fleet: SoftwareFleet) -> None:
    attester = fleet.attester("race")
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            challenge_id, nonce = service.challenge("race")
            evidence = attester.evidence(nonce, now())

            def send(number: int, target: str = challenge_id, body: bytes = evidence) -> Reply:
                return service.answer(target, body)

            replies = list(pool.map(send, range(8)))
            assert sorted(reply.status for reply in replies) == [200, *[404] * 7]


def test_overlapping_attestations_of_one_instance_keep_their_order(
    service: Running, fleet: SoftwareFleet
) -> None:
    """Each is judged against what was stored last; a quote that comes after a newer one is behind."""
    attester = fleet.attester("overlapping")
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: service.attest(attester), range(30)))
    accepted = sum(not one for one in found)
    assert all(one <= {"freshness.rollback"} for one in found)
    store = Store(service.state)
    standing = store.standing("overlapping")
    store.close()
    assert standing is not None
    assert standing.version == accepted > 0


def test_t06_evidence_for_another_challenge(service: Running, fleet: SoftwareFleet) -> None:
    attester = fleet.attester("other-challenge")
    _, nonce = service.challenge(attester.instance)
    challenge_id, _ = service.challenge(attester.instance)
    found = service.failures(service.answer(challenge_id, attester.evidence(nonce, now())))
    assert found == {"freshness.nonce", "quote.nonce"}


def test_a_challenge_is_for_its_instance(service: Running, fleet: SoftwareFleet) -> None:
    attester = fleet.attester("mine")
    challenge_id, nonce = service.challenge("yours")
    found = service.failures(service.answer(challenge_id, attester.evidence(nonce, now())))
    assert found == {"chain.ak.instance"}


def test_t13_t14_state_and_log_set_back(service: Running, fleet: SoftwareFleet) -> None:
    attester = fleet.attester("rollback")
    later = now()
    assert service.attest(attester, later, entries=30) == set()
    before = Clock(later.clock - 1, 1)
    assert service.attest(attester, before, entries=30) == {"freshness.rollback"}
    assert service.attest(attester, now(), entries=20) == {"ima.replay.rollback"}
    assert service.attest(attester, now(), entries=40) == set()


def test_a_restarted_tpm_is_refused_unless_the_policy_lets_guests_boot(
    service: Running, fleet: SoftwareFleet
) -> None:
    attester = fleet.attester("restarted")
    assert service.attest(attester) == set()
    # Its list went on: the guest did not boot.
    assert service.attest(attester, now(resets=2)) == {"freshness.restart"}
    assert service.attest(fleet.forked(attester, 1), now(resets=2)) == {"freshness.reset"}
    assert service.attest(attester) == set()


def test_t30_two_copies_of_a_tpm_in_turn(service: Running, fleet: SoftwareFleet) -> None:
    attester = fleet.attester("copied")
    ahead = now()
    behind = Clock(ahead.clock - 5 * 60_000, 1)
    assert service.attest(attester, behind) == set()
    assert service.attest(attester, ahead) == {"freshness.clone"}
    assert service.attest(attester, behind) == set()
    assert service.attest(attester, Clock(behind.clock - 1, 1)) == {"freshness.rollback"}


def test_t30_a_copy_that_measured_something_else(service: Running, fleet: SoftwareFleet) -> None:
    attester = fleet.attester("forked")
    assert service.attest(attester, entries=30) == set()
    copy = fleet.forked(attester, 20)
    assert service.attest(copy, entries=35) == {"freshness.clone"}
    assert service.attest(attester, entries=35) == set()


def test_t27_an_instance_keeps_its_key_until_that_is_revoked(
    service: Running, fleet: SoftwareFleet
) -> None:
    first, second = fleet.attester("taken"), fleet.attester("taken")
    assert service.attest(first) == set()
    assert service.attest(second) == {"freshness.instance"}
    assert service.attest(first) == set()
    _revoke(service, first.ak_name, "key")
    assert service.attest(second) == set()
    assert service.attest(first) >= {"freshness.instance"}


def test_t05_revoked_keys_and_hosts_are_refused_at_once(
    service: Running, fleet: SoftwareFleet
) -> None:
    """Four times: both workers know."""
    attester, other = fleet.attester("revoked"), fleet.attester("revoked-host")
    assert service.attest(attester) == set()
    _revoke(service, attester.ak_name, "key")
    for _ in range(4):
        assert service.attest(attester) == {"chain.ak.revoked"}
    assert service.attest(other) == set()


def test_t05_a_new_revocation_list_counts_at_once(service: Running, fleet: SoftwareFleet) -> None:
    attester = fleet.attester("listed")
    assert service.attest(attester) == set()
    service.set_policy(fleet.policy(revoked=(fleet.host_serial,)))
    try:
        for _ in range(4):
            assert service.attest(attester) == {"chain.revoked"}
    finally:
        service.set_policy(fleet.policy())
    assert service.attest(attester) == set()


def _revoke(service: Running, name: bytes, kind: str) -> None:
    store = Store(service.state)
    assert store.revoke(name, "host" if kind == "host" else "key", time.time())
    store.close()


def test_a_policy_that_cannot_be_read_accepts_nobody(
    service: Running, fleet: SoftwareFleet
) -> None:
    attester = fleet.attester("no-policy")
    good = (service.folder / "policy.json").read_bytes()
    challenge_id, nonce = service.challenge(attester.instance)
    (service.folder / "policy.json").write_bytes(good[:-1])
    try:
        for reply in (
            service.answer(challenge_id, attester.evidence(nonce, now())),
            service.request("GET", "/healthz"),
        ):
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert reply.json["detail"] == "see the service's log"
    finally:
        service.set_policy(fleet.policy())
    # The challenge was not used up by a service that could not judge.
    assert service.failures(service.answer(challenge_id, attester.evidence(nonce, now()))) == set()


@pytest.mark.parametrize("changed", [0, 40, -1])
def test_bytes_that_are_no_evidence_get_a_signed_refusal(
    service: Running, fleet: SoftwareFleet, changed: int
) -> None:
    attester = fleet.attester(f"changed-{changed}")
    challenge_id, nonce = service.challenge(attester.instance)
    evidence = bytearray(attester.evidence(nonce, now()))
    evidence[changed] ^= 0xFF
    assert service.failures(service.answer(challenge_id, bytes(evidence)))


def test_a_host_revoked_by_the_service(
    fleet: SoftwareFleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("host-revoked")
    attester = fleet.attester("pod-0")
    with Running(folder, fleet.policy()) as service:
        assert service.attest(attester) == set()
        _revoke(service, fleet.host_ak_name, "host")
        assert service.attest(attester) == {"chain.host.revoked"}


def test_postgresql_serves_as_well(
    fleet: SoftwareFleet, postgresql: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from .conftest import empty

    empty(postgresql)
    first, second = fleet.attester("pod-0"), fleet.attester("pod-0")
    folder = tmp_path_factory.mktemp("postgresql")
    with Running(folder, fleet.policy(), "--state", postgresql, workers=2) as service:
        assert service.attest(first) == set()
        assert service.attest(first, Clock(1, 1)) == {"freshness.rollback"}
        assert service.attest(second) == {"freshness.instance"}
    # Another service with the same database goes on where that one was.
    with Running(folder, fleet.policy(), "--state", postgresql) as service:
        assert service.attest(first, Clock(1, 1)) == {"freshness.rollback"}
        assert service.attest(first) == set()


def test_a_database_that_fails_accepts_nobody(
    fleet: SoftwareFleet, postgresql: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import sqlalchemy as sa

    from .conftest import empty

    empty(postgresql)
    attester = fleet.attester("pod-0")
    folder = tmp_path_factory.mktemp("failing")
    with Running(folder, fleet.policy(), "--state", postgresql) as service:
        challenge_id, nonce = service.challenge("pod-0")
        engine = sa.create_engine(postgresql.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE revocations"))
        engine.dispose()
        for reply in (
            service.answer(challenge_id, attester.evidence(nonce, now())),
            service.request("GET", "/healthz"),
        ):
            assert (reply.status, reply.json["detail"]) == (503, "see the service's log")
        assert 'relation \\"revocations\\" does not exist' in service.log.read_text()
