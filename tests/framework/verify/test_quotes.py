"""The vTPM's and the host's quotes (attacks T08, T09, T32)."""

import hashlib

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.framework.evidence import binding
from harness.framework.evidence.bundle import Evidence, Quote, encode_evidence
from harness.framework.verify import (
    VerificationCache,
    verify,
)

from .world import (
    NOW,
    PrivateKey,
    World,
    attest,
    ids,
    judge,
    other_key,
    tpm_signature,
)


def test_t08_quote_edits(world: World) -> None:
    extra = binding.quote_qualifier(world.nonce)

    def found(body: bytes) -> set[str]:
        return ids(judge(world, world.evidence(quote=world.quote(body))))

    assert found(attest(extra, world.pcrs, magic=0xFF544348)) == {"quote.magic"}
    assert found(attest(extra, world.pcrs, kind=0x8017)) == {"quote.type"}
    assert found(attest(extra + b"\0", world.pcrs)) == {"quote.nonce"}
    assert found(attest(world.nonce, world.pcrs)) == {"quote.nonce"}
    assert found(world.attest()[:-1]) == {"quote.format"}
    narrowed = {pcr: value for pcr, value in world.pcrs.items() if pcr != 9}
    assert found(attest(extra, narrowed)) == {"quote.pcr.selection", "quote.pcr.values"}


def test_t08_every_flipped_byte_of_quote_and_signature_is_refused(world: World) -> None:
    quote = world.quote()
    policy, challenge = world.policy(), world.challenge()
    cache = VerificationCache()
    for name in ("attest", "signature"):
        original: bytes = getattr(quote, name)
        for at in range(len(original)):
            changed = original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :]
            evidence = world.evidence(quote=msgspec.structs.replace(quote, **{name: changed}))
            result = verify(encode_evidence(evidence), policy, challenge, NOW, cache)
            assert ids(result) & {"quote.signature", "quote.format"}, (name, at)
            assert result.state is None


def test_t09_extended_without_a_log(world: World) -> None:
    extra = binding.quote_qualifier(world.nonce)

    def found(pcr: int, values: dict[int, bytes] | None = None) -> set[str]:
        pcrs = world.pcrs | {pcr: hashlib.sha256(world.pcrs[pcr] + bytes(32)).digest()}
        quote = world.quote(attest(extra, pcrs))
        return ids(judge(world, world.evidence(quote=quote, pcr_values=values or pcrs)))

    assert found(4) == {"boot.replay.mismatch", "ima.boot_aggregate.mismatch"}
    assert found(10) == {"ima.replay.mismatch"}
    assert found(10, world.pcrs) == {"quote.pcr.values"}


def test_t32_weak_bank_and_unused_pcrs(world: World) -> None:
    extra = binding.quote_qualifier(world.nonce)
    sha1 = world.evidence(quote=world.quote(attest(extra, world.pcrs, bank=0x0004)))
    assert ids(judge(world, sha1)) == {"quote.pcr.bank"}
    zeros = dict.fromkeys(world.pcrs, bytes(32))
    quote = world.quote(attest(extra, zeros))
    found = ids(judge(world, world.evidence(quote=quote, pcr_values=zeros)))
    assert {"quote.pcr.zero", "boot.replay.mismatch", "ima.replay.mismatch"} <= found


def test_t32_sha1_signature_is_refused(world: World) -> None:
    body = world.attest()
    signature = tpm_signature(world.ak, body)
    weak = signature[:2] + b"\0\4" + signature[4:]
    found = ids(judge(world, world.evidence(quote=Quote(body, weak))))
    assert "quote.signature" in found


def test_pcr_values_must_be_exactly_the_quoted_ones(world: World) -> None:
    more = world.evidence(pcr_values=world.pcrs | {11: bytes(32)})
    assert "quote.pcr.values" in ids(judge(world, more))


def test_deep_quote(world: World) -> None:
    policy = world.policy(require_deep_quote=True)

    def found(evidence: Evidence) -> set[str]:
        return ids(judge(world, evidence, policy))

    assert found(world.with_deep_quote()) == set()
    assert found(world.with_deep_quote(signer=other_key())) == {"quote.deep.signature"}
    assert found(world.with_deep_quote(qualifier=bytes(32))) == {"quote.deep.nonce"}
    assert found(world.with_deep_quote(kind=0x8017)) == {"quote.deep.format"}
    torn = world.evidence(deep_quote=Quote(world.attest(), b"\0"))
    assert "quote.deep.format" in found(torn)


def spki(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def presented(world: World, bound: bytes | None, shown: bytes | None) -> Evidence:
    """Evidence whose quote is bound to one confirmation key, beside another."""
    quote = world.quote(attest(binding.quote_qualifier(world.nonce, bound), world.pcrs))
    return world.evidence(quote=quote, confirmation_key=shown)


def test_t23_a_result_names_the_key_that_the_quote_is_bound_to(world: World) -> None:
    key = spki(other_key())
    result = judge(world, presented(world, key, key))
    assert ids(result) == set()
    assert result.confirmation_key == key
    assert judge(world).confirmation_key == b""
    for shown in (spki(other_key()), None):
        refused = judge(world, presented(world, key, shown))
        assert ids(refused) == {"quote.nonce"}
        assert refused.confirmation_key == b""
    assert ids(judge(world, presented(world, None, key))) == {"quote.nonce"}


def test_t23_a_policy_can_ask_for_a_confirmation_key(world: World) -> None:
    policy = world.policy(require_confirmation_key=True)
    assert ids(judge(world, policy=policy)) == {"quote.confirmation.missing"}
    key = spki(other_key())
    assert ids(judge(world, presented(world, key, key), policy)) == set()


def test_t23_a_confirmation_key_is_one_that_presenters_can_use(world: World) -> None:
    good = spki(other_key())
    others = (
        spki(ec.generate_private_key(ec.SECP384R1())),
        spki(rsa.generate_private_key(65537, 2048)),
        good[:-1], good + b"\0", b"",
    )  # fmt: skip
    for key in others:
        result = judge(world, presented(world, key, key))
        assert ids(result) == {"quote.confirmation.format"}, key.hex()


def test_t23_every_flipped_bit_of_a_confirmation_key_is_refused(world: World) -> None:
    key = spki(other_key())
    policy, challenge, cache = world.policy(), world.challenge(), VerificationCache()
    for at in range(8 * len(key)):
        changed = bytearray(key)
        changed[at // 8] ^= 1 << at % 8
        wire = encode_evidence(presented(world, key, bytes(changed)))
        assert "quote.nonce" in ids(verify(wire, policy, challenge, NOW, cache))
