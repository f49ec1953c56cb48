"""Only the new part of an IMA list is sent, and judged as the whole list would be."""

import hashlib
import struct
import time
from pathlib import Path

import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.framework.errors import ParseError
from harness.framework.evidence import ima_prefix
from harness.framework.evidence.bundle import ImaPrefix, decode_evidence, encode_evidence
from harness.framework.service.client import VerifierClient, VerifierError, accepted
from harness.framework.verify import AttestationResult, Challenge, Policy, Previous, verify
from harness.workloads.software_attesters import SoftwareFleet

from .running import Running, now

NONCE = bytes(32)


def judge(wire: bytes, policy: Policy, previous: Previous | None) -> AttestationResult:
    at = time.time()
    return verify(wire, policy, Challenge(NONCE, at - 1, at + 60, previous), at)


def ids(result: AttestationResult) -> set[str]:
    return {failure.id for failure in result.failures}


def prefix_of(previous: Previous | None) -> ImaPrefix:
    assert previous is not None
    assert previous.known is not None
    return ImaPrefix(previous.known.end.entries, previous.known.end.pcr)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=5).map(sorted))
@settings(max_examples=20, deadline=None)
def test_parts_lead_where_whole_lists_do(fleet: SoftwareFleet, stops: list[int]) -> None:
    attester, policy = fleet.attester("pod"), fleet.policy()
    clock = now()
    state = judge(attester.evidence(NONCE, clock, stops[0]), policy, None).state
    assert state is not None
    for stop in stops[1:]:
        whole = judge(attester.evidence(NONCE, clock, stop), policy, state)
        wire = attester.evidence(NONCE, clock, stop, prefix_of(state))
        part = judge(wire, policy, state)
        assert ids(whole) == ids(part) == set()
        assert part.state is not None
        assert whole.state is not None
        assert msgspec.structs.replace(part.state, issued_s=0) == msgspec.structs.replace(
            whole.state, issued_s=0
        )
        state = part.state


def test_a_part_needs_the_state_that_it_goes_on_from(fleet: SoftwareFleet) -> None:
    attester, policy = fleet.attester("pod"), fleet.policy()
    state = judge(attester.evidence(NONCE, now(), 20), policy, None).state
    assert state is not None
    prefix = prefix_of(state)
    wire = attester.evidence(NONCE, now(), 40, prefix)
    assert ids(judge(wire, policy, state)) == set()
    assert ids(judge(wire, policy, None)) == {"ima.log.start"}
    other = msgspec.structs.replace(policy, crl_grace_s=1)
    assert "ima.log.start" in ids(judge(wire, other, state))
    for wrong in (ImaPrefix(19, prefix.pcr), ImaPrefix(20, bytes(32))):
        evidence = msgspec.structs.replace(decode_evidence(wire), ima_prefix=wrong)
        assert "ima.log.start" in ids(judge(encode_evidence(evidence), policy, state))


def test_a_part_is_judged_like_any_list(fleet: SoftwareFleet) -> None:
    attester, policy, clock = fleet.attester("pod"), fleet.policy(), now()
    state = judge(attester.evidence(NONCE, clock, 20), policy, None).state
    prefix = prefix_of(state)
    good = decode_evidence(attester.evidence(NONCE, clock, 40, prefix))
    one_less = ima_prefix.after(fleet.ima.binary, _prefix(fleet, 21))
    assert one_less is not None
    assert len(one_less) < len(good.ima_log)
    for log, expected in (
        (one_less, "ima.replay.mismatch"),
        (b"", "ima.replay.mismatch"),
        (good.ima_log[:-1], "ima.log.format"),
        (fleet.ima.binary, "ima.replay.mismatch"),
    ):
        wire = encode_evidence(msgspec.structs.replace(good, ima_log=log))
        assert expected in ids(judge(wire, policy, state))
    # A policy without the files that only the new part has.
    fewer = dict(list(policy.ima.items())[:30])
    strict = msgspec.structs.replace(policy, ima=fewer)
    before = judge(attester.evidence(NONCE, clock, 20), strict, None).state
    assert ids(judge(encode_evidence(good), strict, before)) == {"ima.file.unknown"}


def _prefix(fleet: SoftwareFleet, entries: int) -> ImaPrefix:
    state = judge(fleet.attester("x").evidence(NONCE, now(), entries), fleet.policy(), None).state
    return prefix_of(state)


def test_a_guest_that_booted_again_sends_the_whole_list(fleet: SoftwareFleet) -> None:
    attester = fleet.attester("pod")
    other = fleet.forked(attester, 1)
    prefix = _prefix(fleet, 20)
    assert ima_prefix.cut(other._fleet.ima.binary, prefix) == (other._fleet.ima.binary, None)
    assert ima_prefix.cut(fleet.ima.binary, None) == (fleet.ima.binary, None)
    part, used = ima_prefix.cut(fleet.ima.binary, prefix)
    assert used == prefix
    assert fleet.ima.binary.endswith(part)
    with pytest.raises(ParseError):
        ima_prefix.after(fleet.ima.binary[:-1], _prefix(fleet, 40))


def test_the_service_tells_what_it_knows_and_is_sent_the_rest(
    service: Running, fleet: SoftwareFleet, tmp_path: Path
) -> None:
    attester = fleet.attester("incremental")
    assert service.ask("incremental")["ima_prefix"] is None
    client = _client(service)
    sizes: list[int] = []
    found: list[ImaPrefix | None] = []
    for stop in (10, 25, 40, 40):

        def evidence(nonce: bytes, known: ImaPrefix | None, stop: int = stop) -> bytes:
            found.append(known)
            wire = attester.evidence(nonce, now(), stop, known)
            sizes.append(len(cbor2.loads(wire)["ima_log"]))
            return wire

        assert accepted(client.attest("incremental", evidence))
    assert [known and known.entries for known in found] == [None, 10, 25, 40]
    whole = len(fleet.ima.binary)
    assert sizes[0] == whole > sizes[1] > sizes[2] > sizes[3] == 0
    # Another policy: what was judged under the old one has to be judged again.
    service.set_policy(msgspec.structs.replace(fleet.policy(), crl_grace_s=1))
    assert service.ask("incremental")["ima_prefix"] is None
    service.set_policy(fleet.policy())


def test_a_verifier_that_forgot_is_sent_the_whole_list(
    service: Running, fleet: SoftwareFleet
) -> None:
    attester = fleet.attester("forgotten")
    asked: list[ImaPrefix | None] = []

    def evidence(nonce: bytes, known: ImaPrefix | None) -> bytes:
        asked.append(known)
        # The first time as if it had been told a prefix.
        prefix = _prefix(fleet, 20) if len(asked) == 1 else known
        return attester.evidence(nonce, now(), 40, prefix)

    assert accepted(_client(service).attest("forgotten", evidence))
    assert asked == [None, None]


def test_the_client_trusts_only_the_pinned_key_and_the_ca(
    service: Running, fleet: SoftwareFleet, tmp_path: Path
) -> None:
    attester = fleet.attester("pinned")
    with Running(tmp_path, fleet.policy()) as other:
        for ca, key, says in (
            (service.ca, other, "isn't signed by the pinned key"),
            (other.ca, service, "certificate verify failed"),
        ):
            pem = (key.folder / "verifier" / "results.pub").read_bytes()
            client = VerifierClient(service.url, ca, pem)
            with pytest.raises(VerifierError, match=says):
                client.attest("pinned", lambda nonce, _: attester.evidence(nonce, now()))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:1", "expected https"),
        ("https://127.0.0.1:1", "127.0.0.1:1/v1/challenges"),
    ],
)
def test_a_service_that_cannot_be_reached_is_named(service: Running, url: str, says: str) -> None:
    pem = (service.folder / "verifier" / "results.pub").read_bytes()
    with pytest.raises(VerifierError, match=says):
        VerifierClient(url, service.ca, pem).attest("x", lambda *_: b"")


def _client(service: Running) -> VerifierClient:
    pem = (service.folder / "verifier" / "results.pub").read_bytes()
    return VerifierClient(service.url, service.ca, pem)


def test_a_prefix_of_any_entries_is_found(fleet: SoftwareFleet) -> None:
    """A violation extends ones, another template is the parser's, another PCR doesn't count."""
    path = b"/x\0"
    digest = b"sha256:\0" + b"d" * 32
    data = struct.pack("<I", len(digest)) + digest + struct.pack("<I", len(path)) + path
    signed = data + struct.pack("<I", 2) + b"\3\2"
    entries = [
        struct.pack("<I20sI6sI", 10, b"s" * 20, 6, b"ima-ng", len(data)) + data,
        struct.pack("<I20sI6sI", 10, bytes(20), 6, b"ima-ng", len(data)) + data,
        struct.pack("<I20sI7sI", 10, b"s" * 20, 7, b"ima-sig", len(signed)) + signed,
        struct.pack("<I20sI6sI", 11, b"s" * 20, 6, b"ima-ng", len(data)) + data,
    ]
    extended = [hashlib.sha256(data).digest(), b"\xff" * 32, hashlib.sha256(signed).digest()]
    value, log = bytes(32), b"".join(entries)
    for count, one in enumerate(extended, 1):
        value = hashlib.sha256(value + one).digest()
        rest = b"".join(entries[count:])
        assert ima_prefix.after(log, ImaPrefix(count, value)) == rest
    assert ima_prefix.after(log, ImaPrefix(4, value)) == b""
    assert ima_prefix.after(log, ImaPrefix(5, value)) is None
    for end in range(1, len(entries[0])):
        with pytest.raises(ParseError):
            ima_prefix.after(log[:end], ImaPrefix(1, value))
