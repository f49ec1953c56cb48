"""A tenant verifies its container's list alone; others' entries are digests to it."""

from collections.abc import Callable

import pytest

from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import ima_log
from harness.framework.verify import ContainerListResult, Policy, verify_container_list

from .guest_list import GuestList, demonstration, sha
from .test_containers import (
    A_FILES,
    changed,
    create_twice,
    files,
    guest_policy,
    made_by_another_manager,
    overflow,
    rules,
    run_what_the_host_ran,
)
from .world import World


def judged(
    world: World,
    guest: GuestList,
    domain: int = 1,
    own: bytes | None = None,
    redacted: bytes | None = None,
    policy: Policy | None = None,
) -> ContainerListResult:
    """Verify ``domain``'s list; by default what the kernel shows and what it quoted."""
    quoted = world.pcrs | {10: guest.pcr(10), 11: guest.pcr(11)}
    result = verify_container_list(
        guest.own(domain) if own is None else own,
        domain,
        ima_log.redact(guest.binary, 11) if redacted is None else redacted,
        quoted,
        policy or tenant_policy(world),
        guest.start,
    )
    assert result.accepted == (not result.failures)
    return result


def tenant_policy(world: World, **changes: object) -> Policy:
    """Tenant A's: it knows the guest and its own files, and nothing of others'."""
    mine = rules(per_container={"pod-a": files(*A_FILES)}, **changes)
    return guest_policy(world, containers=mine)


def ids(result: ContainerListResult) -> set[str]:
    return {failure.id for failure in result.failures}


def test_redacted_list_leads_to_the_same_pcrs_and_shows_no_container_file(world: World) -> None:
    guest = demonstration(world.pcrs)
    redacted = ima_log.redact(guest.binary, 11)
    values, at = {10: bytes(32), 11: bytes(32)}, 0
    while at < len(redacted):
        entry, at = ima_log.parse_entry(redacted, at)
        values[entry.pcr] = sha(values[entry.pcr], entry.extended)
        assert (entry.template == "redacted") == (entry.pcr == 11)
    assert values == {10: guest.pcr(10), 11: guest.pcr(11)}
    assert b"/bin/app2" not in redacted
    assert b"/etc/conf" not in redacted
    assert ima_log.redact(redacted, 11) == redacted


def test_each_tenant_accepts_its_own_list(world: World) -> None:
    guest = demonstration(world.pcrs)
    result = judged(world, guest)
    assert ids(result) == set()
    assert result.container is not None
    assert (result.container.name, result.container.entries) == ("pod-a", 3)
    both = guest_policy(world)
    other = judged(world, guest, domain=2, policy=both)
    assert ids(other) == set()
    assert other.container is not None
    assert (other.container.name, other.container.entries) == ("pod-b", 2)


def test_what_others_do_is_not_the_tenants_business(world: World) -> None:
    guest = demonstration(world.pcrs)
    guest.run(2, "/bin/evil")
    guest.run(2, "/etc/conf", bytes(32), violation=True)
    guest.seal()
    assert ids(judged(world, guest)) == set()


def test_a_boot_stub_extended_the_pcr_before(world: World) -> None:
    guest = demonstration(world.pcrs)
    guest.start = {11: b"s" * 32}
    assert ids(judged(world, guest)) == set()
    guest.start = {}
    wrong = demonstration(world.pcrs)
    wrong.start = {11: b"s" * 32}
    redacted = ima_log.redact(guest.binary, 11)
    quoted = world.pcrs | {10: wrong.pcr(10), 11: wrong.pcr(11)}
    policy = tenant_policy(world)
    result = verify_container_list(guest.own(1), 1, redacted, quoted, policy)
    assert ids(result) == {"ima.replay.mismatch"}


def cut(own: bytes, count: int) -> bytes:
    """The first ``count`` entries; a negative count drops from the end."""
    ends, at = [0], 0
    while at < len(own):
        _, at = ima_log.parse_entry(own, at)
        ends.append(at)
    return own[: ends[count if count >= 0 else len(ends) - 1 + count]]


@pytest.mark.parametrize("kept", [0, 1, -1])
def test_a_truncated_own_list_is_caught_by_the_aggregate(world: World, kept: int) -> None:
    guest = demonstration(world.pcrs)
    result = judged(world, guest, own=cut(guest.own(1), kept))
    assert "ima.aggregate.mismatch" in ids(result)
    assert ids(result) <= {"ima.aggregate.mismatch", "ima.aggregate.missing"}


def test_an_edited_or_reordered_own_list_is_caught(world: World) -> None:
    guest = demonstration(world.pcrs)
    own = guest.own(1)
    edited = own.replace(b"/bin/app2", b"/bin/app1")
    assert "ima.aggregate.mismatch" in ids(judged(world, guest, own=edited))
    first, second = cut(own, 1), cut(own, 2)[len(cut(own, 1)) :]
    reordered = second + first + own[len(first) + len(second) :]
    assert "ima.aggregate.mismatch" in ids(judged(world, guest, own=reordered))
    with_pad = own[: len(first)] + own
    assert "ima.aggregate.mismatch" in ids(judged(world, guest, own=with_pad))


def test_t22_another_containers_list_is_not_ones_own(world: World) -> None:
    guest = demonstration(world.pcrs)
    assert "ima.container.list" in ids(judged(world, guest, own=guest.own(2)))
    assert "ima.container.list" in ids(judged(world, guest, own=guest.own(1) + guest.own(2)))
    host = guest.entries[3].raw
    assert "ima.container.list" in ids(judged(world, guest, own=host))
    assert "ima.domain.unknown" in ids(judged(world, guest, domain=7, own=b""))


def test_entries_beyond_the_quote_are_not_looked_at(world: World) -> None:
    guest, later = demonstration(world.pcrs), demonstration(world.pcrs)
    later.run(1, "/bin/evil")
    assert ids(judged(world, guest, own=later.own(1))) == set()


def test_own_files_are_judged(world: World) -> None:
    guest = changed(world, run_what_the_host_ran)
    assert ids(judged(world, guest)) == {"ima.container.file"}
    broken = demonstration(world.pcrs)
    broken.run(1, "/bin/app1", bytes(32), violation=True)
    broken.seal()
    assert ids(judged(world, broken)) == {"ima.violation"}


def hidden_after_the_seal(guest: GuestList) -> None:
    guest.run(1, "/bin/evil")


def hidden_before_a_stale_seal(guest: GuestList) -> None:
    """Added between the sum and its record: no line counts it, though it stands before."""
    text = guest.sealed_text() + b""
    guest.run(1, "/bin/evil")
    guest.record("ns_aggregate", text)


@pytest.mark.parametrize("hide", [hidden_after_the_seal, hidden_before_a_stale_seal])
def test_an_own_entry_passed_off_as_anothers_is_counted(
    world: World, hide: Callable[[GuestList], None]
) -> None:
    """All entries of containers look alike in the redacted list; the sums tell how many are."""
    guest = demonstration(world.pcrs)
    whole = guest.own(1)
    hide(guest)
    assert ids(judged(world, guest, own=whole)) == {"ima.aggregate.unsealed"}


def test_never_sealed(world: World) -> None:
    guest = demonstration(world.pcrs)
    guest.entries = [entry for entry in guest.entries if b"ns_aggregate" not in entry.data]
    assert ids(judged(world, guest)) == {"ima.aggregate.missing"}
    lenient = tenant_policy(world, max_unsealed=5)
    assert ids(judged(world, guest, policy=lenient)) == set()


def test_the_guest_around_it_is_judged_too(world: World) -> None:
    assert ids(judged(world, changed(world, create_twice))) == {"ima.domain.duplicate"}
    manager = judged(world, changed(world, made_by_another_manager))
    assert ids(manager) == {"ima.manager.unknown", "ima.file.digest"}
    many = judged(world, changed(world, overflow))
    assert ids(many) == {"ima.domain.overflow", "ima.violation"}


def test_nothing_of_the_host_can_be_redacted(world: World) -> None:
    guest = demonstration(world.pcrs)
    guest.host("/bin/evil")
    assert ids(judged(world, guest)) == {"ima.file.unknown"}
    hidden = ima_log.redact(ima_log.redact(guest.binary, 11), 10)
    assert "ima.entry.template" in ids(judged(world, guest, redacted=hidden))
    # And containers' entries that were not redacted are no list for a tenant.
    shown = judged(world, guest, redacted=guest.binary)
    assert "ima.entry.template" in ids(shown)


def test_changes_of_the_redacted_list_are_caught(world: World) -> None:
    guest = demonstration(world.pcrs)
    redacted = ima_log.redact(guest.binary, 11)
    for at in range(0, len(redacted), 5):
        flipped = bytearray(redacted)
        flipped[at] ^= 1
        if not judged(world, guest, redacted=bytes(flipped)).accepted:
            continue
        # Only in the column of SHA-1, from which nothing is derived.
        assert at in sha1_bytes(redacted)


def sha1_bytes(log: bytes) -> set[int]:
    at, found = 0, set()
    while at < len(log):
        found |= set(range(at + 4, at + 24))
        _, at = ima_log.parse_entry(log, at)
    return found


def test_malformed_lists_and_policies(world: World) -> None:
    guest = demonstration(world.pcrs)
    assert ids(judged(world, guest, own=guest.own(1)[:-1])) == {"ima.log.format"}
    torn = ima_log.redact(guest.binary, 11)[:-1]
    assert ids(judged(world, guest, redacted=torn)) == {"ima.log.format"}
    short = ima_log.redact(guest.binary, 11).replace(
        b"redacted\x20\0\0\0", b"redacted\x1f\0\0\0", 1
    )
    assert ids(judged(world, guest, redacted=short)) == {"ima.log.format"}
    with pytest.raises(PolicyError, match="containers"):
        judged(world, guest, policy=guest_policy(world, containers=None))
    with pytest.raises(ParseError):
        ima_log.redact(guest.binary[:-1], 11)
