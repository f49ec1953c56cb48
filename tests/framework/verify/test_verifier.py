"""Good evidence is accepted; freshness, the envelope, the plain baseline, and the cache."""

import hashlib
import struct

import msgspec
import pytest

from harness.framework.errors import PolicyError
from harness.framework.evidence.bundle import Quote, encode_evidence
from harness.framework.tee.csv_processor import SoftwareProcessor
from harness.framework.verify import (
    STAGES,
    Challenge,
    Policy,
    Previous,
    VerificationCache,
    verify,
)
from harness.framework.verify.known_list import KnownList, ListEnd

from .world import (
    NOW,
    RSAPSS,
    World,
    ids,
    judge,
    name_of,
    other_key,
    public_area,
    revocation_list,
    tpm_signature,
)


@pytest.mark.parametrize("rsa_ak", [False, True], ids=["ecc", "rsa"])
def test_clean_evidence_is_accepted_and_says_what_it_rests_on(
    processor: SoftwareProcessor, *, rsa_ak: bool
) -> None:
    world = World(processor, rsa_ak=rsa_ak)
    result = judge(world)
    assert ids(result) == set()
    assert (result.instance, result.host, result.chip) == ("pod-1", "host-a", processor.serial)
    assert result.trust_kind == "emulated"
    assert result.measurement == world.guest.measurement
    assert result.ima_entries == 50
    pcrs = b"".join(world.pcrs[pcr] for pcr in range(10))
    end = ListEnd(hashlib.sha256(pcrs).digest(), 50, len(world.ima.binary), world.pcrs[10])
    known = KnownList(world.policy().digest, end)
    assert result.state == Previous(1, 0, 5000, 50, name_of(world.public), NOW - 1, known)
    assert result.host_key == world.claims.host_ak_name


def test_rsapss_key_is_accepted(processor: SoftwareProcessor) -> None:
    world = World(processor, rsa_ak=True)
    public = public_area(world.ak, scheme=RSAPSS)
    body = world.attest()
    evidence = world.evidence(
        ak_public=public, quote=Quote(body, tpm_signature(world.ak, body, RSAPSS))
    )
    policy = world.policy(scheme="allow-list", accepted_ak_names=(name_of(public),))
    assert ids(judge(world, evidence, policy)) == set()
    # The key's scheme is part of its name: another scheme of the same key is not the key's.
    wrong = msgspec.structs.replace(evidence, quote=world.quote())
    assert ids(judge(world, wrong, policy)) == {"quote.signature"}


def test_stages_are_announced_in_order_and_cache_changes_no_answer(world: World) -> None:
    cache = VerificationCache()
    good = encode_evidence(world.evidence())
    bad = encode_evidence(world.evidence(quote=world.quote(signer=other_key())))
    for wire in (good, bad, good, bad):
        seen: list[str] = []
        result = verify(wire, world.policy(), world.challenge(), NOW, cache, observer=seen.append)
        assert tuple(seen) == STAGES
        assert result == verify(wire, world.policy(), world.challenge(), NOW)


def test_the_result_names_the_stage_of_the_first_failure(world: World) -> None:
    assert judge(world).stage == ""
    assert judge(world, world.evidence(ak_certificate=None)).stage == "chain"
    assert (
        judge(world, world.evidence(quote=world.quote(signer=other_key()))).stage == "quote_check"
    )
    assert judge(world, world.evidence(ima_log=b"")).stage == "replay"
    assert judge(world, policy=world.policy(accepted_measurements=())).stage == "policy"
    assert verify(b"", world.policy(), world.challenge(), NOW).stage == "decode"


def test_cache_never_answers_what_depends_on_time_or_policy(world: World) -> None:
    cache, wire = VerificationCache(), encode_evidence(world.evidence())

    def found(policy: Policy, now_s: float = NOW) -> set[str]:
        challenge = Challenge(world.nonce, now_s - 1, now_s + 1)
        return ids(verify(wire, policy, challenge, now_s, cache))

    assert found(world.policy()) == set()
    late = NOW + 400 * 86400
    assert found(world.policy(), late) == {"chain.validity", "chain.revocation.stale"}
    revoked = world.policy(crls=(revocation_list(world.root_key, (1, 2)),))
    assert found(revoked) == set()
    assert found(world.policy(accept_emulated=False)) == {"tee.root.emulated"}
    path = next(iter(world.ima.allowed))
    fewer = {p: d for p, d in world.ima.allowed.items() if p != path}
    assert found(world.policy(ima=fewer)) == {"ima.file.unknown"}


def test_t06_replayed_evidence(world: World) -> None:
    result = judge(world, challenge=world.challenge(nonce=b"n" * 32))
    assert ids(result) == {"quote.nonce", "freshness.nonce"}
    relabelled = world.evidence(nonce=b"n" * 32)
    result = judge(world, relabelled, challenge=world.challenge(nonce=b"n" * 32))
    assert ids(result) == {"quote.nonce"}


def test_t07_expired_and_future_challenges(world: World) -> None:
    assert ids(judge(world, now_s=NOW + 31)) == {"freshness.expired"}
    assert ids(judge(world, now_s=NOW - 2)) == {"freshness.future"}


@pytest.mark.parametrize("size", [0, 15, 65])
def test_challenge_nonce_has_bounds(size: int) -> None:
    with pytest.raises(PolicyError):
        Challenge(bytes(size), 0, 1)


def test_allow_list_knows_keys_by_name(world: World) -> None:
    evidence = world.evidence(ak_certificate=None, issuer_chain=(), launch=None, launch_report=None)
    known = world.policy(scheme="allow-list", accepted_ak_names=(bytes(34), name_of(world.public)))
    result = judge(world, evidence, known)
    assert ids(result) == set()
    assert (result.trust_kind, result.instance, result.host) == ("none", "", "")
    unknown = world.policy(scheme="allow-list", accepted_ak_names=(bytes(34),))
    assert ids(judge(world, evidence, unknown)) == {"chain.ak.unknown"}


def test_t28_malformed_envelopes(world: World) -> None:
    wire = encode_evidence(world.evidence())
    version = encode_evidence(world.evidence(version=2))
    for bad in (b"", wire[:-1], wire + b"\0", version, struct.pack(">BQ", 0x5B, 2**60)):
        result = verify(bad, world.policy(), world.challenge(), NOW)
        assert ids(result) == {"envelope.format"}
