"""Lists of guests with containers: what an attacker changes or a container hides, and its id."""

import dataclasses
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from harness.framework.evidence import binding
from harness.framework.evidence.bundle import Evidence, encode_evidence
from harness.framework.verify import (
    Container,
    ContainerRules,
    Policy,
    VerificationCache,
    encode_policy,
    load_policy,
    verify,
)

from .guest_list import (
    MANAGER,
    MANAGER_PATH,
    Entry,
    GuestList,
    demonstration,
    digest_of,
    file_data,
    sha,
    sized,
    started,
)
from .world import NOW, World, attest, ids, judge

HOST_FILES = ("/init", "/bin/app1", "/bin/app4")
A_FILES = ("/bin/app1", "/bin/app2", "/bin/app3")
B_FILES = ("/bin/app1", "/etc/conf")


def files(*paths: str) -> dict[str, tuple[bytes, ...]]:
    return {path: (digest_of(path),) for path in paths}


def rules(**changes: object) -> ContainerRules:
    base = ContainerRules(
        managers={MANAGER_PATH: (MANAGER,)},
        per_container={"pod-a": files(*A_FILES), "pod-b": files(*B_FILES)},
    )
    return msgspec.structs.replace(base, **changes)


def guest_policy(world: World, **changes: object) -> Policy:
    base = world.policy(ima=files(*HOST_FILES), containers=rules(), pcrs=tuple(range(12)))
    return msgspec.structs.replace(base, **changes)


def guest_evidence(world: World, quoted: GuestList, log: bytes | None = None) -> Evidence:
    """Evidence in which the kernel extended ``quoted``, and sends ``log`` (default: the same)."""
    pcrs = world.pcrs | {10: quoted.pcr(10), 11: quoted.pcr(11)}
    return world.evidence(
        ima_log=quoted.binary if log is None else log,
        pcr_values=pcrs,
        quote=world.quote(attest(binding.quote_qualifier(world.nonce), pcrs)),
    )


def found(
    world: World, quoted: GuestList, log: bytes | None = None, policy: Policy | None = None
) -> set[str]:
    evidence = guest_evidence(world, quoted, log)
    return ids(judge(world, evidence, policy or guest_policy(world)))


def changed(world: World, change: Callable[[GuestList], None]) -> GuestList:
    guest = demonstration(world.pcrs)
    change(guest)
    return guest


def edited(guest: GuestList, edit: Callable[[list[Entry]], list[Entry]]) -> bytes:
    return b"".join(entry.raw for entry in edit(list(guest.entries)))


def replaced(entries: list[Entry], at: int, **changes: Any) -> list[Entry]:
    entries[at] = dataclasses.replace(entries[at], **changes)
    return entries


# What is as it should be


def test_the_demonstration_is_accepted_and_says_who_ran(world: World) -> None:
    guest = demonstration(world.pcrs)
    for cache in (None, VerificationCache()):
        wire = encode_evidence(guest_evidence(world, guest))
        result = verify(wire, guest_policy(world), world.challenge(), NOW, cache)
        assert ids(result) == set()
        assert result.ima_entries == len(guest.entries)
        assert result.containers == (Container(1, "pod-a", 3, 0), Container(2, "pod-b", 2, 0))


def test_one_list_of_files_can_serve_all_containers(world: World) -> None:
    common = rules(per_container={}, files=files(*A_FILES, *B_FILES))
    guest = demonstration(world.pcrs)
    assert found(world, guest, policy=guest_policy(world, containers=common)) == set()
    own = rules(per_container={"pod-b": files("/bin/app1")}, files=files(*A_FILES))
    policy = guest_policy(world, containers=own)
    assert found(world, guest, policy=policy) == {"ima.container.file"}


def test_a_guest_without_containers_needs_no_rules_for_them(world: World) -> None:
    guest = started(world.pcrs)
    with_manager = files("/init") | {MANAGER_PATH: (MANAGER,)}
    for policy in (guest_policy(world), guest_policy(world, containers=None, ima=with_manager)):
        assert found(world, guest, policy=policy) == set()


def test_a_boot_stub_may_have_extended_the_containers_pcr(world: World) -> None:
    """systemd's stub measures the sections of a unified kernel image into PCR 11."""
    log, value = world.boot.log, bytes(32)
    allowed = dict(world.policy().boot or {})
    for section in (b".linux\0", b"the kernel"):
        event = struct.pack("<IIIH20sH32sI", 11, 0xD, 2, 4, bytes(20), 11, sha(section), 0)
        log += event
        value = sha(value, sha(section))
        allowed[11] = (*allowed.get(11, ()), sha(section))
    guest = demonstration(world.pcrs)
    plain = guest.pcr(11)
    guest.start[11] = value
    assert guest.pcr(11) != plain
    policy = guest_policy(world, boot=allowed)
    evidence = msgspec.structs.replace(guest_evidence(world, guest), boot_log=log)
    assert ids(judge(world, evidence, policy)) == set()
    unknown = guest_policy(world)
    assert ids(judge(world, evidence, unknown)) == {"boot.event.unknown"}
    without = guest_evidence(world, guest)
    assert ids(judge(world, without, policy)) == {"ima.replay.mismatch"}


def test_lists_differ_between_boots_and_are_accepted_alike(world: World) -> None:
    """Inode numbers and the order of creation are no reference values."""
    first, second = demonstration(world.pcrs), started(world.pcrs)
    second.host("/bin/app1")
    second.create(1, "pod-b", mount=4026599999)
    second.run(1, "/bin/app1", mount=4026599999)
    second.create(2, "pod-a", mount=4026532001)
    second.run(2, "/bin/app3", mount=4026532001)
    second.seal()
    assert (first.pcr(10), first.pcr(11)) != (second.pcr(10), second.pcr(11))
    for guest in (first, second):
        assert found(world, guest) == set()


def test_entries_that_follow_the_quote_are_not_looked_at(world: World) -> None:
    guest = demonstration(world.pcrs)
    later = GuestList()
    later.run(9, "/bin/evil")
    assert found(world, guest, guest.binary + later.binary + b"torn") == set()


def test_a_seal_may_lag_behind_entries_that_were_added_meanwhile(world: World) -> None:
    guest = demonstration(world.pcrs)
    text = guest.sealed_text()
    guest.entries.pop()
    guest.run(2, "/bin/app1", mount=7)
    guest.record("ns_aggregate", text)
    assert found(world, guest) == {"ima.aggregate.unsealed"}
    lenient = guest_policy(world, containers=rules(max_unsealed=1))
    assert found(world, guest, policy=lenient) == set()


# Edited lists: the quote is of the true one


def swapped_ids(entries: list[Entry]) -> list[Entry]:
    """The first entry of each container claims to be the other's."""
    one, two = (next(i for i, e in enumerate(entries) if e.domain == d) for d in (1, 2))
    for at, domain in ((one, 2), (two, 1)):
        data = bytearray(entries[at].data)
        data[-24:-16] = domain.to_bytes(8, "little")
        replaced(entries, at, data=bytes(data), domain=domain)
    return entries


def without_last_of(domain: int) -> Callable[[list[Entry]], list[Entry]]:
    def drop(entries: list[Entry]) -> list[Entry]:
        last = max(i for i, entry in enumerate(entries) if entry.domain == domain)
        return entries[:last] + entries[last + 1 :]

    return drop


def without_record(number: int) -> Callable[[list[Entry]], list[Entry]]:
    def drop(entries: list[Entry]) -> list[Entry]:
        records = [i for i, e in enumerate(entries) if b"ns_create" in e.data]
        del entries[records[number]]
        return entries

    return drop


def with_text(old: bytes, new: bytes, *, hashed: bool) -> Callable[[list[Entry]], list[Entry]]:
    """Change a record's text; ``hashed``: and the digest of it in the same entry."""

    def edit(entries: list[Entry]) -> list[Entry]:
        at = next(i for i, e in enumerate(entries) if old in e.data)
        data = entries[at].data
        name = b"ns_create" if b"ns_create" in data else b"ns_aggregate"
        text = data.partition(name + b"\0")[2][4:].replace(old, new)
        digest = sha(text) if hashed else data[12:44]
        replaced(entries, at, data=file_data(name.decode(), digest) + sized(text))
        return entries

    return edit


EDITS: list[tuple[str, Callable[[list[Entry]], list[Entry]], set[str]]] = [
    ("tail of A", without_last_of(1), {"ima.aggregate.mismatch"}),
    ("tail of B", without_last_of(2), {"ima.aggregate.mismatch"}),
    ("swapped ids", swapped_ids, {"ima.domain.unknown", "ima.aggregate.mismatch"}),
    ("no ns_create of A", without_record(0), {"ima.domain.unknown"}),
    ("no ns_create of B", without_record(1), {"ima.domain.unknown"}),
    ("edited name", with_text(b"cid=pod-b", b"cid=pod-a", hashed=False),
     {"ima.domain.record", "ima.domain.unknown"}),
    ("edited name and digest", with_text(b"cid=pod-b", b"cid=pod-a", hashed=True),
     {"ima.container.file"}),
    ("edited manager", with_text(MANAGER.hex().encode(), b"00" * 32, hashed=True),
     {"ima.manager.unknown"}),
    ("edited aggregate", with_text(b"1 3 0 sha256", b"1 2 0 sha256", hashed=True),
     {"ima.aggregate.mismatch"}),
    ("moved to PCR 10", lambda e: replaced(e, 5, pcr=10), {"ima.entry.template"}),
    ("moved to PCR 12", lambda e: replaced(e, 5, pcr=12), {"ima.entry.pcr"}),
    ("record moved to PCR 11", lambda e: replaced(e, 4, pcr=11), {"ima.entry.template"}),
    ("record in PCR 12", lambda e: replaced(e, 4, pcr=12), {"ima.entry.pcr"}),
    ("violation claimed", lambda e: replaced(e, 5, violation=True), {"ima.violation"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("edit", "expected"), [edit[1:] for edit in EDITS], ids=[edit[0] for edit in EDITS]
)
def test_edited_lists(
    world: World, edit: Callable[[list[Entry]], list[Entry]], expected: set[str]
) -> None:
    guest = demonstration(world.pcrs)
    seen = found(world, guest, edited(guest, edit))
    assert expected <= seen
    assert "ima.replay.mismatch" in seen
    assert found(world, guest, edited(guest, lambda entries: entries)) == set()


def test_the_two_pcrs_must_match_at_one_prefix(world: World) -> None:
    """PCR 10 of now with PCR 11 of before: each matches a prefix, but no moment had both."""
    guest = demonstration(world.pcrs)
    pcrs = world.pcrs | {10: guest.pcr(10), 11: GuestList(guest.entries[:-2]).pcr(11)}
    assert pcrs[11] != guest.pcr(11)
    evidence = world.evidence(
        ima_log=guest.binary,
        pcr_values=pcrs,
        quote=world.quote(attest(binding.quote_qualifier(world.nonce), pcrs)),
    )
    assert "ima.replay.mismatch" in ids(judge(world, evidence, guest_policy(world)))


# What really happened in the guest, and may not


def run_in_nested_namespace(guest: GuestList) -> None:
    guest.run(1, "/bin/evil", mount=4026533333)
    guest.seal()


def run_what_the_host_ran(guest: GuestList) -> None:
    """Stock IMA would not measure it again."""
    guest.run(1, "/bin/app4")
    guest.seal()


def run_by_setns(guest: GuestList) -> None:
    guest.run(2, "/bin/app2", mount=4026532091)
    guest.seal()


def run_another_version(guest: GuestList) -> None:
    guest.run(1, "/bin/app1", b"t" * 32)
    guest.seal()


def run_with_a_reused_inode_number(guest: GuestList) -> None:
    """C's mount namespace has the number that A's had: that doesn't make it A."""
    guest.create(3, "pod-c", mount=4026532001)
    guest.run(3, "/bin/app2", mount=4026532001)
    guest.seal()


def made_by_another_manager(guest: GuestList) -> None:
    guest.host("/bin/app4", b"m" * 32)
    guest.create(3, "pod-a", manager="sha256:" + (b"m" * 32).hex())
    guest.run(3, "/bin/app1")
    guest.seal()


def made_by_an_unmeasured_program(guest: GuestList) -> None:
    guest.create(3, "pod-a", manager="-")
    guest.run(3, "/bin/app1")
    guest.seal()


def replaced_manager(guest: GuestList) -> None:
    """The container manager's file is another one from now on."""
    guest.host(MANAGER_PATH, b"m" * 32)
    guest.create(3, "pod-a", manager="sha256:" + (b"m" * 32).hex())
    guest.run(3, "/bin/app1")
    guest.seal()


def create_twice(guest: GuestList) -> None:
    guest.create(1, "pod-a")


def overflow(guest: GuestList) -> None:
    guest.host("ns_overflow", bytes(32), violation=True)
    guest.create(0xFFFFFFFF, "overflow", manager="-")
    guest.run(0xFFFFFFFF, "/bin/app1")
    guest.seal()


def broken_file(guest: GuestList) -> None:
    guest.run(1, "/etc/conf", bytes(32), violation=True)
    guest.seal()


def never_sealed(guest: GuestList) -> None:
    guest.create(3, "pod-a")
    guest.run(3, "/bin/app1")


def entry_after_the_seal(guest: GuestList) -> None:
    guest.run(1, "/bin/app1")


def sealed_by_somebody_else(guest: GuestList) -> None:
    guest.seal(lambda domain, line: line[:-2] + "00" if domain == 2 else line)


def sealed_backwards(guest: GuestList) -> None:
    """A seal that takes back what an earlier one counted."""
    first = sha(bytes(32), next(e for e in guest.entries if e.domain == 1).extended)
    guest.seal(lambda domain, line: f"1 1 0 sha256:{first.hex()}" if domain == 1 else line)


def sealed_in_sm3(guest: GuestList) -> None:
    guest.seal(lambda _domain, line: line.replace("sha256", "sm3"))


def sealed_an_unknown_domain(guest: GuestList) -> None:
    guest.record("ns_aggregate", guest.sealed_text() + b"7 1 0 sha256:" + b"00" * 32 + b"\n")


def torn_record(guest: GuestList) -> None:
    guest.record("ns_aggregate", b"1 3 0 sha2")


def file_with_sha1(guest: GuestList) -> None:
    guest.run(1, "/bin/app1", b"s" * 20, algorithm=b"sha1")
    guest.seal()


def host_template_in_pcr_11(guest: GuestList) -> None:
    guest.add(Entry(11, "ima-ng", file_data("/bin/app1", digest_of("/bin/app1"))))


EVENTS: list[tuple[Callable[[GuestList], None], set[str]]] = [
    (run_in_nested_namespace, {"ima.container.file"}),
    (run_what_the_host_ran, {"ima.container.file"}),
    (run_by_setns, {"ima.container.file"}),
    (run_another_version, {"ima.container.digest"}),
    (run_with_a_reused_inode_number, {"ima.container.unknown"}),
    (made_by_another_manager, {"ima.manager.unknown", "ima.file.digest"}),
    (made_by_an_unmeasured_program, {"ima.manager.unknown"}),
    (replaced_manager, {"ima.manager.unknown", "ima.file.unknown"}),
    (create_twice, {"ima.domain.duplicate"}),
    (overflow, {"ima.domain.overflow", "ima.violation", "ima.container.unknown"}),
    (broken_file, {"ima.violation"}),
    (never_sealed, {"ima.aggregate.missing"}),
    (entry_after_the_seal, {"ima.aggregate.unsealed"}),
    (sealed_by_somebody_else, {"ima.aggregate.mismatch"}),
    (sealed_backwards, {"ima.aggregate.mismatch"}),
    (sealed_in_sm3, {"ima.aggregate.hash"}),
    (sealed_an_unknown_domain, {"ima.domain.unknown"}),
    (torn_record, {"ima.domain.record"}),
    (file_with_sha1, {"ima.entry.hash"}),
    (host_template_in_pcr_11, {"ima.entry.template"}),
]


@pytest.mark.parametrize(
    ("change", "expected"), EVENTS, ids=[change.__name__ for change, _ in EVENTS]
)
def test_what_happened_and_may_not(
    world: World, change: Callable[[GuestList], None], expected: set[str]
) -> None:
    assert found(world, changed(world, change)) == expected


def test_the_manager_must_be_measured_before_it_makes_a_container(world: World) -> None:
    guest = GuestList()
    guest.host("boot_aggregate", sha(*(world.pcrs[pcr] for pcr in range(10))))
    guest.host("/init")
    guest.create(1, "pod-a")
    guest.host(MANAGER_PATH, MANAGER)
    guest.run(1, "/bin/app1")
    guest.seal()
    assert found(world, guest) == {"ima.manager.unmeasured"}
    # The digest alone is not it: somebody else's file may have the same content.
    other = GuestList()
    other.host("boot_aggregate", sha(*(world.pcrs[pcr] for pcr in range(10))))
    other.host("/init", MANAGER)
    other.create(1, "pod-a")
    other.run(1, "/bin/app1")
    other.seal()
    policy = guest_policy(world, ima={"/init": (MANAGER,)})
    assert found(world, other, policy=policy) == {"ima.manager.unmeasured"}


def test_without_rules_no_container_is_acceptable(world: World) -> None:
    guest = demonstration(world.pcrs)
    policy = guest_policy(world, containers=None)
    seen = found(world, guest, policy=policy)
    assert {"ima.entry.pcr", "ima.entry.template", "ima.replay.mismatch"} <= seen


def test_unsealed_entries_are_reported_even_where_they_are_accepted(world: World) -> None:
    guest = changed(world, entry_after_the_seal)
    policy = guest_policy(world, containers=rules(max_unsealed=1))
    result = judge(world, guest_evidence(world, guest), policy)
    assert ids(result) == set()
    assert [container.unsealed for container in result.containers] == [1, 0]


def test_a_quote_without_the_containers_pcr_vouches_for_nothing(world: World) -> None:
    guest = demonstration(world.pcrs)
    pcrs = world.pcrs | {10: guest.pcr(10)}
    quote = world.quote(attest(binding.quote_qualifier(world.nonce), pcrs))
    evidence = world.evidence(ima_log=guest.binary, pcr_values=pcrs, quote=quote)
    seen = ids(judge(world, evidence, guest_policy(world)))
    assert seen == {"quote.pcr.selection", "ima.replay.mismatch"}


def test_rules_travel_with_the_policy(world: World) -> None:
    policy = guest_policy(world)
    again = load_policy(encode_policy(policy))
    assert again == policy
    assert again.digest != guest_policy(world, containers=rules(max_unsealed=1)).digest
    assert ContainerRules(managers={}).max_unsealed == 0
    assert load_policy(b'{"scheme": "chain"}').containers is None


def test_flipped_bits_of_containers_entries_are_all_refused(world: World) -> None:
    """Everything but the SHA-1 column, from which nothing is derived."""
    guest = demonstration(world.pcrs)
    policy, challenge, cache = guest_policy(world), world.challenge(), VerificationCache()

    def accepted(log: bytes) -> bool:
        wire = encode_evidence(guest_evidence(world, guest, log))
        return verify(wire, policy, challenge, NOW, cache).accepted

    assert accepted(guest.binary)
    at = 0
    for entry in guest.entries:
        for offset in (0, *range(24, len(entry.raw), 7)):
            flipped = bytearray(guest.binary)
            flipped[at + offset] ^= 1 << offset % 8
            assert not accepted(bytes(flipped)), (entry, offset)
        at += len(entry.raw)


def test_a_file_judged_slowly_counts_as_one_accepted_fast(world: World) -> None:
    """An algorithm or path that the fast path leaves alone must not change the aggregates."""
    guest = demonstration(world.pcrs)
    guest.run(1, "/bin/app1\udcff")
    guest.run(1, "/bin/app2")
    guest.seal()
    assert found(world, guest) == {"ima.container.file"}
