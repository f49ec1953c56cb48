"""Containers: what they ran, who made them, whose list is whose (rows T19 to T22, T25).

The lists are written as the patched kernel writes them and truly extended into a vTPM; that it
does write them is what the guests of tests/backends/test_qemu.py show.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import msgspec

from harness.framework.errors import FrameworkError
from harness.framework.evidence import ima_log
from harness.framework.evidence.bundle import Evidence
from harness.framework.verify import ContainerRules, Policy, verify_container_list
from harness.workloads.attestation import reference_values
from harness.workloads.logs import BootLog, ImaLog, pcrs_after
from harness.workloads.security.guest_lists import (
    CONTAINER_PCR,
    MANAGER,
    GuestList,
    digest_of,
    two_containers,
)
from harness.workloads.security.registry import Attempted, Mounted, attack
from harness.workloads.security.world import World

_PCRS = tuple(range(CONTAINER_PCR + 1))
_EVIL = b"\x13" * 32
_Change = Callable[[GuestList], object]


def _files(*paths: str) -> dict[str, tuple[bytes, ...]]:
    return {path: (digest_of(path),) for path in paths}


def _rules() -> ContainerRules:
    image = _files("/bin/app", "/lib/libapp.so", "/etc/app.conf")
    return ContainerRules(managers=_files(MANAGER), per_container={"pod-a": image, "pod-b": image})


def _policy(world: World) -> Policy:
    return world.policy(
        boot=reference_values(*world.logs).boot, ima=_files("/bin/tool"),
        containers=_rules(), pcrs=_PCRS,
    )  # fmt: skip


def _honest(world: World, change: _Change | None = None, after: _Change | None = None) -> GuestList:
    return two_containers(pcrs_after(world.logs[0].extends), change, after)


def _measured(world: World, guest: GuestList) -> Evidence:
    """Evidence of a vTPM that really was extended with the list."""
    boot = world.logs[0]
    pod = world.pod_with((BootLog(boot.log, boot.extends + guest.extends), ImaLog(b"", (), {})))
    return world.quoted(pod, (boot.log, guest.binary), _PCRS)


@cache
def _honest_evidence(world: World) -> Evidence:
    return _measured(world, _honest(world))


def _beside_honest(world: World, evidence: Evidence) -> Mounted:
    policy = _policy(world)
    twin = world.presented(_honest_evidence(world), policy)
    return Mounted(world.presented(evidence, policy), twin)


def _ran(row: str, case: str, change: _Change | None = None, after: _Change | None = None) -> None:
    """Register something that a guest did and its kernel recorded, before or after the seal."""

    def mount(world: World) -> Mounted:
        return _beside_honest(world, _measured(world, _honest(world, change, after)))

    attack(row, case, "deployment")(mount)


def _unexpected_container(guest: GuestList) -> None:
    guest.create(3, "pod-c")
    guest.run(3, "/bin/app")


_ran("T19", "image-with-another-program", lambda guest: guest.run(1, "/bin/app", _EVIL))
_ran("T19", "image-with-another-layer", lambda guest: guest.run(1, "/opt/layer/miner", _EVIL))
_ran("T19", "unexpected-container", _unexpected_container)
_ran("T20", "program-modified", lambda guest: guest.run(2, "/lib/libapp.so", _EVIL))
_ran("T20", "new-script", lambda guest: guest.run(2, "/opt/new/run.sh", _EVIL))
_ran("T20", "library-preloaded", lambda guest: guest.run(1, "/opt/new/preload.so", _EVIL))
_ran("T20", "host-program-in-a-container", lambda guest: guest.run(1, "/bin/tool"))
_ran("T20", "kernel-module", lambda guest: guest.host("/lib/modules/rootkit.ko", _EVIL))
_ran("T21", "nested-namespace", lambda guest: guest.run(1, "/bin/evil", _EVIL, mount=4026539999))
_ran("T21", "program-run-after-the-seal", after=lambda guest: guest.run(1, "/bin/app", mount=7))
_ran("T22", "container-number-given-twice", lambda guest: guest.create(1, "pod-b"))
_ran("T25", "manager-never-measured", lambda guest: guest.entries.pop(1))
_ran("T25", "other-container-manager", lambda guest: guest.create(3, "pod-a", _EVIL))


def _list_edit(row: str, case: str, edit: _Change) -> None:
    """Register an edit of the list after the quote."""

    def mount(world: World) -> Mounted:
        evidence = _honest_evidence(world)
        changed = _honest(world)
        edit(changed)
        policy = _policy(world)
        return Mounted(
            world.presented(msgspec.structs.replace(evidence, ima_log=changed.binary), policy),
            world.presented(evidence, policy),
        )

    attack(row, case, "evidence")(mount)


def _without_last_of_a(guest: GuestList) -> None:
    last = max(i for i, entry in enumerate(guest.entries) if entry.domain == 1)
    del guest.entries[last]


def _as_if_of_b(guest: GuestList) -> None:
    at = next(i for i, entry in enumerate(guest.entries) if entry.domain == 1)
    moved = guest.entries[at]
    data = moved.data[:-24] + (2).to_bytes(8, "little") + moved.data[-16:]
    guest.entries[at] = replace(moved, data=data)


_list_edit("T21", "entry-of-a-container-hidden", _without_last_of_a)
_list_edit("T22", "entry-given-to-another-container", _as_if_of_b)


@attack("T22", "list-of-another-pod", "deployment")
def list_of_another_pod(world: World) -> Mounted:
    """Pod B sends pod A's good list beside its own quote, of a vTPM that ran something else."""
    other = _measured(world, _honest(world, lambda guest: guest.run(1, "/bin/evil", _EVIL)))
    borrowed = msgspec.structs.replace(other, ima_log=_honest(world).binary)
    return _beside_honest(world, borrowed)


@attack("T22", "certificate-of-another-pod", "deployment")
def certificate_of_another_pod(world: World) -> Mounted:
    """Pod B's quote and logs under pod A's certificate and launch."""
    other = world.attested(world.pod_with())
    changes = {
        name: getattr(world.evidence, name)
        for name in ("ak_certificate", "issuer_chain", "launch", "launch_report")
    }
    twin = world.presented(other)
    return Mounted(world.presented(msgspec.structs.replace(other, **changes)), twin)


@attack("T22", "tenant-is-shown-another-list", "deployment")
def tenant_is_shown_another_list(world: World) -> Mounted:
    """The tenant of pod-b is given pod-a's own list as if it were pod-b's."""
    guest = _honest(world)
    evidence, policy = _honest_evidence(world), _policy(world)
    redacted = ima_log.redact(guest.binary, CONTAINER_PCR)

    def show(domain: int) -> Attempted:
        def act() -> None:
            result = verify_container_list(
                guest.own(domain), 2, redacted, evidence.pcr_values, policy
            )
            if not result.accepted:
                raise FrameworkError(", ".join(failure.id for failure in result.failures))

        return Attempted("tenant", act, len(redacted))

    return Mounted(show(1), show(2))
