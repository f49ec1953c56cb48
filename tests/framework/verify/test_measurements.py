"""Boot and IMA logs against the quoted PCRs (attacks T10-T12)."""

import hashlib
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.framework.evidence import binding, boot_event_log, ima_replay
from harness.framework.evidence.bundle import Evidence
from harness.framework.verify import Policy
from harness.workloads.logs import ima_log

from .world import NOW, World, attest, ids, judge

ZERO_SHA1 = bytes(20)


def entry(
    data: bytes, *, template: bytes = b"ima-ng", pcr: int = 10, sha1: bytes | None = None
) -> bytes:
    """One binary entry with a sized template."""
    digest = hashlib.sha1(data).digest() if sha1 is None else sha1
    return struct.pack("<I20sI", pcr, digest, len(template)) + template + sized(data)


def sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def fields(digest: bytes, path: bytes, *extra: bytes, algorithm: bytes = b"sha256") -> bytes:
    parts = (algorithm + b":\0" + digest, path + b"\0", *extra)
    return b"".join(sized(part) for part in parts)


def split(log: bytes) -> list[bytes]:
    """The entries of an ima-ng log."""
    entries, at = [], 0
    while at < len(log):
        (size,) = struct.unpack_from("<I", log, at + 34)
        entries.append(log[at : at + 38 + size])
        at += 38 + size
    return entries


def with_ima(world: World, *added: bytes, violation: bool = False) -> Evidence:
    """Evidence whose log really has these further entries, quoted."""
    value = world.pcrs[10]
    for raw in added:
        (name_size,) = struct.unpack_from("<I", raw, 24)
        extended = hashlib.sha256(raw[32 + name_size :]).digest()
        value = hashlib.sha256(value + (b"\xff" * 32 if violation else extended)).digest()
    pcrs = world.pcrs | {10: value}
    quote = world.quote(attest(binding.quote_qualifier(world.nonce), pcrs))
    log = world.ima.binary + b"".join(added)
    return world.evidence(ima_log=log, pcr_values=pcrs, quote=quote)


def boot_events(world: World) -> tuple[bytes, list[bytes]]:
    """The header event, and the raw events after it."""
    log, at, events = world.boot.log, 32, []
    at += struct.unpack_from("<I", log, 28)[0]
    header = log[:at]
    while at < len(log):
        start = at
        at += 12 + 2 + 20 + 2 + 32
        at += 4 + struct.unpack_from("<I", log, at)[0]
        events.append(log[start:at])
    return header, events


Edit = Callable[[list[bytes]], list[bytes]]
EDITS: list[tuple[str, Edit]] = [
    ("truncated", lambda events: events[:-1]),
    ("reordered", lambda events: [*events[:-2], events[-1], events[-2]]),
    ("inserted", lambda events: [*events, events[-1]]),
    ("omitted", lambda events: events[:5] + events[6:]),
    ("all omitted", lambda _events: []),
]


@pytest.mark.parametrize("edit", [edit for _, edit in EDITS], ids=[name for name, _ in EDITS])
def test_t10_edited_boot_log(world: World, edit: Edit) -> None:
    header, events = boot_events(world)
    assert ids(judge(world, world.evidence(boot_log=header + b"".join(events)))) == set()
    log = header + b"".join(edit(events))
    assert ids(judge(world, world.evidence(boot_log=log))) == {"boot.replay.mismatch"}


def test_t10_torn_boot_log_and_events_that_are_no_reference_values(world: World) -> None:
    torn = world.evidence(boot_log=world.boot.log[:-1])
    assert ids(judge(world, torn)) == {"boot.log.format"}
    allowed = dict(world.policy().boot or {})
    allowed[9] = allowed[9][:1]
    result = judge(world, policy=world.policy(boot=allowed))
    assert ids(result) == {"boot.event.unknown"}
    assert world.boot.extends[-1][1].hex() in result.failures[0].detail
    assert ids(judge(world, policy=world.policy(boot=None))) == set()


def test_pcr_that_no_event_extends_must_be_zero(world: World) -> None:
    header, events = boot_events(world)
    kept = b"".join(event for event in events if struct.unpack_from("<I", event)[0] != 9)
    result = judge(world, world.evidence(boot_log=header + kept))
    assert [failure.detail.split(":")[0] for failure in result.failures] == ["PCR 9"]


IMA_EDITS: list[tuple[str, Edit, str]] = [
    ("truncated", lambda entries: entries[:-1], "ima.replay.mismatch"),
    ("middle omitted", lambda entries: entries[:20] + entries[21:], "ima.replay.mismatch"),
    ("reordered", lambda entries: [*entries[:-2], entries[-1], entries[-2]], "ima.replay.mismatch"),
    ("wrong template", lambda e: [*e[:-1], e[-1].replace(b"ima-ng", b"ima-xx")],
     "ima.entry.template"),
    ("other PCR", lambda e: [*e[:-1], b"\x0b" + e[-1][1:]], "ima.entry.pcr"),
    ("torn", lambda e: [*e[:-1], e[-1][:-1]], "ima.log.format"),
    ("path", lambda e: [*e[:-1], e[-1].replace(b"/", b"_")], "ima.file.unknown"),
    ("digest", lambda e: [*e[:-1], e[-1][:50] + bytes(32) + e[-1][82:]], "ima.file.digest"),
    ("violation claimed", lambda e: [*e[:-1], e[-1][:4] + ZERO_SHA1 + e[-1][24:]],
     "ima.violation"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("edit", "expected"), [edit[1:] for edit in IMA_EDITS], ids=[edit[0] for edit in IMA_EDITS]
)
def test_t11_edited_ima_log(world: World, edit: Edit, expected: str) -> None:
    entries = split(world.ima.binary)
    result = judge(world, world.evidence(ima_log=b"".join(edit(entries))))
    assert expected in ids(result)
    assert ids(result) - {expected} <= {"ima.replay.mismatch"}
    assert result.state is None


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        (entry(fields(bytes(32), b"/bin/evil")), "ima.file.unknown"),
        (entry(fields(b"d" * 20, b"/bin/old", algorithm=b"sha1")), "ima.entry.hash"),
        (entry(fields(b"d" * 32, b"boot_aggregate")), "ima.file.unknown"),
        (entry(fields(b"d" * 32, b"kexec", b"buf"), template=b"ima-buf"), "ima.entry.template"),
    ],
    ids=["unknown file", "sha1 digest", "second boot_aggregate", "ima-buf"],
)
def test_t11_quoted_entries_against_the_policy(world: World, added: bytes, expected: str) -> None:
    result = judge(world, with_ima(world, added))
    assert ids(result) == {expected}
    assert result.ima_entries == 51


def test_t11_recorded_violation_is_replayed_and_refused(world: World) -> None:
    violation = entry(fields(bytes(32), b"/bin/raced"), sha1=ZERO_SHA1)
    assert ids(judge(world, with_ima(world, violation, violation=True))) == {"ima.violation"}
    # A known file does not excuse it, and hiding the mark breaks the replay.
    path, digests = next(iter(world.ima.allowed.items()))
    known = entry(fields(digests[0], path.encode()), sha1=ZERO_SHA1)
    assert ids(judge(world, with_ima(world, known, violation=True))) == {"ima.violation"}
    assert ids(judge(world, with_ima(world, known))) == {"ima.violation", "ima.replay.mismatch"}


def test_ima_sig_entry_of_a_known_file_is_accepted(world: World) -> None:
    path, digests = next(iter(world.ima.allowed.items()))
    signed = entry(fields(digests[0], path.encode(), b"\3\2signature"), template=b"ima-sig")
    assert ids(judge(world, with_ima(world, signed))) == set()
    only_ng = world.policy(ima_templates=("ima-ng",))
    assert ids(judge(world, with_ima(world, signed), only_ng)) == {"ima.entry.template"}


def test_policy_without_ima_ng_does_not_accept_it(world: World) -> None:
    found = ids(judge(world, policy=world.policy(ima_templates=("ima-sig",))))
    assert found == {"ima.entry.template"}


def test_path_that_is_not_utf8_never_equals_its_escaped_form(world: World) -> None:
    allowed = world.ima.allowed | {"/bin/\\xff": (b"d" * 32,)}
    evidence = with_ima(world, entry(fields(b"d" * 32, b"/bin/\xff")))
    assert ids(judge(world, evidence, world.policy(ima=allowed))) == {"ima.file.unknown"}


def test_boot_aggregate_ties_the_list_to_this_boot(world: World) -> None:
    entries = split(world.ima.binary)

    def replayed(first: bytes) -> set[str]:
        value = bytes(32)
        for raw in (first, *entries[1:]):
            value = hashlib.sha256(value + hashlib.sha256(raw[38:]).digest()).digest()
        pcrs = world.pcrs | {10: value}
        quote = world.quote(attest(binding.quote_qualifier(world.nonce), pcrs))
        log = first + b"".join(entries[1:])
        return ids(judge(world, world.evidence(ima_log=log, pcr_values=pcrs, quote=quote)))

    assert replayed(entries[0]) == set()
    other_boot = entry(fields(b"d" * 32, b"boot_aggregate"))
    assert replayed(other_boot) == {"ima.boot_aggregate.mismatch"}
    assert replayed(entries[1]) == {"ima.boot_aggregate.missing"}


@pytest.mark.oracle
def test_boot_aggregates_are_those_that_evmctl_computes(world: World, tmp_path: Path) -> None:
    events = boot_event_log.parse(world.boot.log)
    command = ["evmctl", "ima_boot_aggregate"]
    for bank, name, size in ((boot_event_log.ALG_SHA1, "sha1", 20), (0xB, "sha256", 32)):
        values = boot_event_log.replay(events, bank)
        rows = (values.get(pcr, bytes(size)).hex(" ").upper() for pcr in range(24))
        text = "".join(f"PCR-{pcr:02d}: {row}\n" for pcr, row in enumerate(rows))
        (tmp_path / name).write_text(text)
        command += ["--pcrs", f"{name},{tmp_path / name}"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    expected = {name: bytes.fromhex(value) for name, value in (row.split(":") for row in told)}

    def replayed(algorithm: str, digest: bytes, **policy: object) -> set[str]:
        entries = split(world.ima.binary)
        first = entry(fields(digest, b"boot_aggregate", algorithm=algorithm.encode()))
        value = bytes(32)
        for raw in (first, *entries[1:]):
            value = hashlib.sha256(value + hashlib.sha256(raw[38:]).digest()).digest()
        pcrs = world.pcrs | {10: value}
        quote = world.quote(attest(binding.quote_qualifier(world.nonce), pcrs))
        log = first + b"".join(entries[1:])
        evidence = world.evidence(ima_log=log, pcr_values=pcrs, quote=quote)
        return ids(judge(world, evidence, world.policy(**policy)))

    assert replayed("sha256", expected["sha256"]) == set()
    assert replayed("sha1", expected["sha1"]) == {"ima.entry.hash"}
    assert replayed("sha1", expected["sha1"], sha1_boot_aggregate=True) == set()
    assert replayed("sha256", expected["sha256"], sha1_boot_aggregate=True) == set()
    mismatch = {"ima.boot_aggregate.mismatch"}
    assert replayed("sha1", bytes(20), sha1_boot_aggregate=True) == mismatch
    assert replayed("sha256", bytes(32), sha1_boot_aggregate=True) == mismatch


def test_t12_entries_after_the_quote_are_ignored_and_not_counted(world: World) -> None:
    later = entry(fields(b"d" * 32, b"/bin/later"))
    result = judge(world, world.evidence(ima_log=world.ima.binary + later + b"\0torn"))
    assert ids(result) == set()
    assert result.ima_entries == 50


def test_many_bad_entries_give_a_bounded_number_of_failures(world: World) -> None:
    policy: Policy = world.policy(ima={}, boot={})
    result = judge(world, policy=policy)
    assert ids(result) == {"ima.file.unknown", "boot.event.unknown"}
    assert len(result.failures) == 32


def test_log_in_another_bank_alone_cannot_be_replayed(world: World) -> None:
    sha1_log = struct.pack("<II20sI", 0, 8, bytes(20), 0)
    assert ids(judge(world, world.evidence(boot_log=sha1_log))) == {"boot.log.format"}
    assert boot_event_log.parse(sha1_log)[0].digests == {4: bytes(20)}


def test_quote_without_pcr10_cannot_vouch_for_the_list(world: World) -> None:
    pcrs = {pcr: value for pcr, value in world.pcrs.items() if pcr < 10}
    quote = world.quote(attest(binding.quote_qualifier(world.nonce), pcrs))
    evidence = world.evidence(pcr_values=pcrs, quote=quote)
    policy = msgspec.structs.replace(world.policy(), pcrs=tuple(range(10)))
    found = ids(judge(world, evidence, policy, now_s=NOW))
    assert found == {"ima.replay.mismatch", "quote.pcr.zero"}


def test_a_list_with_too_many_unknown_files_is_refused_without_a_word_on_its_end(
    world: World,
) -> None:
    entry = ima_log(2, 5).binary[len(ima_log(1, 5).binary) :]
    many = with_ima(world, *[entry] * (ima_replay.MAX_UNACCEPTABLE + 1))
    assert ids(judge(world, many)) == {"ima.file.unknown", "ima.entries.many"}
    # Whether it is shorter than the accepted one isn't known either.
    before = judge(world).state
    challenge = world.challenge(previous=before)
    again = judge(world, many, challenge=challenge)
    assert ids(again) == {"ima.file.unknown", "ima.entries.many"}
    few = with_ima(world, *[entry] * ima_replay.MAX_UNACCEPTABLE)
    assert ids(judge(world, few)) == {"ima.file.unknown"}
