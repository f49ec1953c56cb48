"""Re-attestation of a known list: the same answers, for less."""

import hashlib
from unittest.mock import Mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.framework.evidence import binding, boot_event_log, ima_replay
from harness.framework.evidence.bundle import Evidence, encode_evidence
from harness.framework.evidence.memo import forgetful
from harness.framework.verify import AttestationResult, Policy, VerificationCache, verify
from harness.framework.verify.context import Context
from harness.framework.verify.failures import FailureList
from harness.framework.verify.known_list import AcceptedLists, KnownList, ListEnd
from harness.framework.verify.measurements import MeasuredList, replay_ima_log

from .test_measurements import entry, fields, split
from .world import NOW, World, attest, ids

EVIL = entry(fields(b"e" * 32, b"/bin/evil"))


def pcr10(entries: list[bytes]) -> bytes:
    value = bytes(32)
    for raw in entries:
        value = hashlib.sha256(value + hashlib.sha256(raw[38:]).digest()).digest()
    return value


def quoted(world: World, entries: list[bytes], *sent_after: bytes) -> Evidence:
    """Evidence whose quote is of these entries; the log has the others after them."""
    pcrs = world.pcrs | {10: pcr10(entries)}
    quote = world.quote(attest(binding.quote_qualifier(world.nonce), pcrs))
    log = b"".join([*entries, *sent_after])
    return world.evidence(ima_log=log, pcr_values=pcrs, quote=quote)


def judged(
    world: World, evidence: Evidence, cache: VerificationCache | None, policy: Policy
) -> AttestationResult:
    return verify(encode_evidence(evidence), policy, world.challenge(), NOW, cache)


def replayed(monkeypatch: pytest.MonkeyPatch) -> Mock:
    watched = Mock(wraps=ima_replay.replay)
    monkeypatch.setattr(ima_replay, "replay", watched)
    return watched


def starts(watched: Mock) -> list[int]:
    """How many entries each replay began with."""
    return [call.args[4].entries if call.args[4] else 0 for call in watched.call_args_list]


def test_a_known_list_is_not_replayed_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    entries, cache, policy = split(world.ima.binary), VerificationCache(), world.policy()
    watched = replayed(monkeypatch)
    for count, seen in ((30, [0]), (30, []), (31, [30]), (50, [31])):
        watched.reset_mock()
        result = judged(world, quoted(world, entries[:count], *entries[count:]), cache, policy)
        assert (ids(result), result.ima_entries) == (set(), count)
        assert starts(watched) == seen


def test_what_follows_a_known_list_is_judged(world: World) -> None:
    entries, cache, policy = split(world.ima.binary), VerificationCache(), world.policy()
    assert ids(judged(world, quoted(world, entries), cache, policy)) == set()
    for _ in range(2):
        result = judged(world, quoted(world, [*entries, EVIL]), cache, policy)
        assert ids(result) == {"ima.file.unknown"}
        assert result == judged(world, quoted(world, [*entries, EVIL]), None, policy)


def test_nothing_is_kept_of_refused_evidence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    entries, cache, policy = split(world.ima.binary), VerificationCache(), world.policy()
    signed = quoted(world, entries)
    other = msgspec.structs.replace(signed, quote=world.quote(signer=world.host_key))
    assert "quote.signature" in ids(judged(world, other, cache, policy))
    watched = replayed(monkeypatch)
    assert ids(judged(world, signed, cache, policy)) == set()
    assert starts(watched) == [0]


def test_a_known_list_is_known_under_its_policy_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries, cache, policy = split(world.ima.binary), VerificationCache(), world.policy()
    evidence = quoted(world, entries)
    assert ids(judged(world, evidence, cache, policy)) == set()
    less = dict(world.ima.allowed)
    less.popitem()
    watched = replayed(monkeypatch)
    assert ids(judged(world, evidence, cache, world.policy(ima=less))) == {"ima.file.unknown"}
    assert starts(watched) == [0]


def test_another_boot_starts_at_the_beginning(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list's bytes are the same, and its boot_aggregate no longer is right."""
    entries, cache = split(world.ima.binary), VerificationCache()
    policy = world.policy(boot=None)
    assert ids(judged(world, quoted(world, entries), cache, policy)) == set()
    pcrs = world.pcrs | {4: bytes(32)}
    quote = world.quote(attest(binding.quote_qualifier(world.nonce), pcrs))
    rebooted = world.evidence(pcr_values=pcrs, quote=quote)
    watched = replayed(monkeypatch)
    found = ids(judged(world, rebooted, cache, policy))
    assert found == {"boot.replay.mismatch", "ima.boot_aggregate.mismatch"}
    assert starts(watched) == [0]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_memory_changes_no_answer(world: World, data: st.DataObject) -> None:
    entries, cache, policy = split(world.ima.binary), VerificationCache(), world.policy()
    first = data.draw(st.integers(1, len(entries)))
    assert ids(judged(world, quoted(world, entries[:first]), cache, policy)) == set()
    second = data.draw(st.integers(1, len(entries)))
    evidence = quoted(world, [*entries[:second], *data.draw(st.sampled_from([[], [EVIL]]))])
    log = bytearray(evidence.ima_log)
    if data.draw(st.booleans()):
        log[data.draw(st.integers(0, len(log) - 1))] ^= data.draw(st.integers(1, 255))
    log = log[: data.draw(st.integers(0, len(log)))] if data.draw(st.booleans()) else log
    evidence = msgspec.structs.replace(evidence, ima_log=bytes(log))
    assert judged(world, evidence, cache, policy) == judged(world, evidence, None, policy)


def end_of(world: World, entries: list[bytes]) -> ListEnd:
    aggregate = hashlib.sha256(b"".join(world.pcrs[pcr] for pcr in range(10))).digest()
    return ListEnd(aggregate, len(entries), len(b"".join(entries)), pcr10(entries))


def new_part(
    world: World, part: bytes, value: bytes, known: KnownList | None
) -> tuple[MeasuredList, set[str]]:
    context = Context(world.policy(), NOW, forgetful, FailureList())
    events = boot_event_log.parse(world.boot.log)
    pcrs = world.pcrs | {10: value}
    found = replay_ima_log(part, pcrs, events, context, known, whole=False)
    return found, {failure.id for failure in context.failures.found}


def test_the_new_part_of_a_list_is_enough(world: World) -> None:
    entries = split(world.ima.binary)
    known = KnownList(world.policy().digest, end_of(world, entries[:20]))
    for count in (20, 21, 50):
        part, end = b"".join(entries[20:]), end_of(world, entries[:count])
        assert new_part(world, part, end.pcr, known) == (MeasuredList(count, (), end), set())
    nothing_new = new_part(world, b"", known.end.pcr, known)
    assert nothing_new == (MeasuredList(20, (), known.end), set())
    evil = [*entries[:20], EVIL]
    assert new_part(world, EVIL, pcr10(evil), known) == (MeasuredList(21), {"ima.file.unknown"})


def test_a_part_that_does_not_fit_is_refused(world: World) -> None:
    entries = split(world.ima.binary)
    part, value = b"".join(entries[20:]), pcr10(entries)
    end = end_of(world, entries[:20])
    known = KnownList(world.policy().digest, end)
    for wrong, expected in (
        (None, "ima.log.start"),
        (KnownList("0" * 64, end), "ima.log.start"),
        (KnownList(known.policy, end._replace(aggregate=bytes(32))), "ima.log.start"),
        (KnownList(known.policy, end_of(world, entries[:19])), "ima.replay.mismatch"),
    ):
        assert new_part(world, part, value, wrong) == (MeasuredList(), {expected})
    torn = new_part(world, part[:-1], value, known)
    assert torn == (MeasuredList(), {"ima.log.format"})


def test_memory_of_lists_is_bounded_and_forgets_the_least_used() -> None:
    lists, log = AcceptedLists(max_lists=2), bytes(100)
    known = KnownList("policy", ListEnd(bytes(32), 1, 60, bytes(32)))
    for key in (b"a", b"b"):
        lists.keep(key, log, known)
    assert lists.find("policy", b"a", log) == known
    lists.keep(b"c", log, known)
    assert lists.find("policy", b"b", log) is None
    assert lists.find("policy", b"a", log[:60]) == known
    assert lists.find("policy", b"a", log[:59]) is None
    assert lists.find("policy", b"a", log[:59] + b"\1" + log[60:]) is None
    assert lists.find("policy", b"a", log[:60] + b"\1") == known
    assert lists.find("other", b"a", log) is None
