"""Lists that our kernel really wrote, with the values that its TPM really held."""

from pathlib import Path
from typing import NamedTuple

import pytest

from harness.framework.evidence import boot_event_log, ima_domains, ima_log
from harness.framework.evidence.ima_log import ImaEntry
from harness.framework.verify import Container, ContainerRules, Policy, verify_container_list
from harness.framework.verify.containers import ContainerCheck
from harness.framework.verify.measurements import replay_list

from .test_containers_oracle import evmctl

DATA = Path(__file__).parents[2] / "data" / "ima"


class Recorded(NamedTuple):
    """A folder of tests/data/ima."""

    log: bytes
    own: dict[int, bytes]
    boot: bytes
    pcrs: dict[int, bytes]

    def entries(self) -> list[ImaEntry]:
        found, at = [], 0
        while at < len(self.log):
            entry, at = ima_log.parse_entry(self.log, at)
            found.append(entry)
        return found

    def policy(self) -> Policy:
        """Exactly what ran: the host's files, and one list for both containers."""
        files: dict[int, dict[str, tuple[bytes, ...]]] = {10: {}, 11: {}}
        for entry in self.entries()[1:]:
            if entry.template != "ima-buf" and not entry.violation:
                files[entry.pcr][entry.path] = (entry.digest,)
        rules = ContainerRules(managers={"/init": files[10]["/init"]}, files=files[11])
        return Policy(scheme="chain", ima=files[10], containers=rules)


def recorded(name: str) -> Recorded:
    folder = DATA / name
    lines = (folder / "pcrs").read_text().splitlines()
    return Recorded(
        (folder / "ima_log").read_bytes(),
        {domain: (folder / f"own{domain}").read_bytes() for domain in (1, 2)},
        (folder / "boot_log").read_bytes(),
        {int(number): bytes.fromhex(value) for number, value in (line.split() for line in lines)},
    )


@pytest.fixture
def two() -> Recorded:
    return recorded("two-containers")


def whole(guest: Recorded) -> tuple[bool, set[str], tuple[Container, ...]]:
    """The rules for the whole guest: whether it replays, failure ids, containers."""
    policy = guest.policy()
    assert policy.containers is not None
    check = ContainerCheck(policy.containers)
    result = replay_list(guest.log, guest.pcrs, {}, policy, check)
    problems = [*result.problems, *check.unsealed()]
    return result.matched, {problem.id for problem in problems}, check.containers()


def test_list_leads_to_the_pcrs_and_every_rule_holds(two: Recorded) -> None:
    boot = boot_event_log.replay(boot_event_log.parse(two.boot))
    assert {pcr: boot.get(pcr, bytes(32)) for pcr in range(10)} == {
        pcr: two.pcrs[pcr] for pcr in range(10)
    }
    containers = (Container(1, "pod-a", 3, 0), Container(2, "pod-b", 2, 0))
    assert whole(two) == (True, set(), containers)


@pytest.mark.oracle
def test_evmctl_agrees(two: Recorded, tmp_path: Path) -> None:
    told = evmctl(two.log, two.pcrs, tmp_path)
    for pcr in (10, 11):
        assert f"sha256 PCR-{pcr}: succeed at entry {len(two.entries())}" in told


@pytest.mark.parametrize("domain", [1, 2])
def test_each_tenant_verifies_its_own_list(two: Recorded, domain: int) -> None:
    redacted = ima_log.redact(two.log, 11)
    result = verify_container_list(two.own[domain], domain, redacted, two.pcrs, two.policy())
    assert result.failures == ()
    other = verify_container_list(two.own[3 - domain], domain, redacted, two.pcrs, two.policy())
    assert "ima.container.list" in {failure.id for failure in other.failures}


def test_who_ran_what_is_told_apart_although_inode_numbers_come_back(two: Recorded) -> None:
    ran = [
        (ima_domains.namespaces(entry).domain, ima_domains.namespaces(entry).mount, entry.path)
        for entry in two.entries()
        if entry.template == "ima-ns"
    ]
    assert [(domain, path) for domain, _, path in ran] == [
        (1, "/bin/app1"), (1, "/bin/app2"), (1, "/bin/app3"), (2, "/bin/app1"), (2, "/etc/conf"),
    ]  # fmt: skip
    mounts = {domain: {m for d, m, _ in ran if d == domain} for domain in (1, 2)}
    assert len(mounts[1]) == 2
    assert mounts[2] < mounts[1]


def test_a_recorded_violation_is_refused_and_attributed() -> None:
    guest = recorded("violation")
    matched, ids, containers = whole(guest)
    assert (matched, ids) == (True, {"ima.violation"})
    assert containers[1] == Container(2, "pod-b", 3, 0)
    redacted = ima_log.redact(guest.log, 11)
    # The host's violation is everyone's business, the container's its own.
    for domain, count in ((1, 1), (2, 3)):
        result = verify_container_list(
            guest.own[domain], domain, redacted, guest.pcrs, guest.policy()
        )
        assert [failure.id for failure in result.failures] == ["ima.violation"] * count
