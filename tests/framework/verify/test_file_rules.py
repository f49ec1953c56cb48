"""Files that are accepted by signature, keys that count once they were loaded, and buffers."""

import hashlib
import json
import struct

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.framework.errors import PolicyError
from harness.framework.evidence import ima_signature
from harness.framework.evidence.bundle import encode_evidence
from harness.framework.evidence.tpm_public import PublicKey
from harness.framework.verify import (
    Policy,
    VerificationCache,
    encode_policy,
    file_rules,
    load_policy,
    verify,
)

from .test_measurements import entry, fields, sized, with_ima
from .world import NOW, World, ids, judge

KEY, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
CONTENT = b"a signed program"
DIGEST = hashlib.sha256(CONTENT).digest()
TEMPLATES = ("ima-ng", "ima-ngv2", "ima-sig", "ima-sigv2", "ima-buf", "ima-modsig")


def public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signature(key: ec.EllipticCurvePrivateKey, *, tree: bool = False) -> bytes:
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    signed = b"\6\4" + DIGEST if tree else CONTENT
    made = key.sign(signed, ec.ECDSA(hashes.SHA256()))
    head = struct.pack(">BBB", *((6, 3, 4) if tree else (3, 2, 4)))
    return head + hashlib.sha1(point).digest()[-4:] + struct.pack(">H", len(made)) + made


def signed(
    raw: bytes, template: bytes = b"ima-sig", *, digest: bytes = DIGEST, kind: bytes = b"sha256",
    path: bytes = b"/bin/signed",
) -> bytes:  # fmt: skip
    rest = (b"", b"") if template == b"ima-modsig" else ()
    return entry(fields(digest, path, raw, *rest, algorithm=kind), template=template)


def loaded(key: ec.EllipticCurvePrivateKey, keyring: bytes = b".ima") -> bytes:
    return buffer(keyring, public(key))


def buffer(name: bytes, content: bytes, digest: bytes | None = None) -> bytes:
    value = hashlib.sha256(content).digest() if digest is None else digest
    return entry(fields(value, name, content), template=b"ima-buf")


def found(world: World, *entries: bytes, **policy: object) -> set[str]:
    rules = {"ima_templates": TEMPLATES} | policy
    return ids(judge(world, with_ima(world, *entries), world.policy(**rules)))


SIGNATURE, UNKNOWN = "ima.signature.invalid", "ima.file.unknown"


def test_a_file_signed_by_a_key_of_the_policy_needs_no_digest(world: World) -> None:
    good = signed(signature(KEY))
    assert found(world, good, ima_keys=(public(KEY),)) == set()
    assert found(world, good) == {UNKNOWN}
    assert found(world, good, ima_keys=(public(OTHER),)) == {SIGNATURE}
    unsigned = signed(b"")
    assert found(world, unsigned, ima_keys=(public(KEY),)) == {UNKNOWN}
    changed = signed(signature(KEY), digest=bytes(32))
    assert found(world, changed, ima_keys=(public(KEY),)) == {SIGNATURE}
    appended = signed(signature(KEY), b"ima-modsig")
    assert found(world, appended, ima_keys=(public(KEY),)) == set()


def test_a_file_that_is_listed_needs_no_signature(world: World) -> None:
    files = world.ima.allowed | {"/bin/signed": (DIGEST,)}
    for raw in (b"", b"\3\2torn", signature(OTHER)):
        assert found(world, signed(raw), ima=files, ima_keys=(public(KEY),)) == set()


def test_digest_of_a_tree_counts_only_signed_as_such(world: World) -> None:
    typed = b"verity:sha256"
    keys = (public(KEY),)
    tree = signed(signature(KEY, tree=True), b"ima-sigv2", kind=typed)
    assert found(world, tree, ima_keys=keys) == set()
    plain = signed(signature(KEY), b"ima-sigv2", kind=typed)
    assert found(world, plain, ima_keys=keys) == {"ima.entry.hash"}
    as_file = signed(signature(KEY, tree=True), b"ima-sigv2", kind=b"ima:sha256")
    assert found(world, as_file, ima_keys=keys) == {SIGNATURE}
    # The digest of a file that holds what fs-verity hashes is the tree's: they must not mix.
    files = world.ima.allowed | {"/bin/tree": (DIGEST,)}
    listed = entry(fields(DIGEST, b"/bin/tree", algorithm=typed), template=b"ima-ngv2")
    assert found(world, listed, ima=files) == {"ima.entry.hash"}
    plain = entry(fields(DIGEST, b"/bin/tree", algorithm=b"ima:sha256"), template=b"ima-ngv2")
    assert found(world, plain, ima=files) == set()


def test_a_digest_of_an_unknown_kind_is_a_malformed_list(world: World) -> None:
    odd = entry(fields(DIGEST, b"/bin/a", algorithm=b"evm:sha256"), template=b"ima-ngv2")
    assert "ima.log.format" in found(world, odd)


def test_a_key_counts_from_when_it_was_loaded(world: World) -> None:
    named = {".ima": (hashlib.sha256(public(KEY)).digest(),)}
    file = signed(signature(KEY))
    assert found(world, loaded(KEY), file, ima_keyrings=named) == set()
    assert found(world, file, loaded(KEY), ima_keyrings=named) == {UNKNOWN}
    assert found(world, file, loaded(KEY), ima_keyrings=named, ima_keys=(public(OTHER),)) == {
        SIGNATURE
    }
    assert found(world, loaded(OTHER), ima_keyrings=named) == {"ima.key.unknown"}
    assert found(world, loaded(KEY, b".other"), ima_keyrings=named) == {"ima.key.unknown"}


def test_a_key_counts_in_what_follows_a_known_list(world: World) -> None:
    """Re-attestation starts where the last list ended, and the key was loaded before that."""
    policy = world.policy(
        ima_templates=TEMPLATES,
        ima_keyrings={".ima": (hashlib.sha256(public(KEY)).digest(),)},
    )
    cache, entries = VerificationCache(), (loaded(KEY), signed(signature(KEY)))
    for count in (1, 2, 2):
        wire = encode_evidence(with_ima(world, *entries[:count]))
        assert ids(verify(wire, policy, world.challenge(), NOW, cache)) == set()
    evil = encode_evidence(with_ima(world, *entries, signed(signature(OTHER))))
    assert ids(verify(evil, policy, world.challenge(), NOW, cache)) == {SIGNATURE}


def test_what_was_loaded_in_one_list_does_not_count_in_another(world: World) -> None:
    policy = world.policy(
        ima_templates=TEMPLATES,
        ima_keyrings={".ima": (hashlib.sha256(public(KEY)).digest(),)},
    )
    first = with_ima(world, loaded(KEY), signed(signature(KEY)))
    assert ids(judge(world, first, policy)) == set()
    assert ids(judge(world, with_ima(world, signed(signature(KEY))), policy)) == {UNKNOWN}


def test_buffers_are_judged_by_name_and_must_be_what_was_hashed(world: World) -> None:
    named = {"kexec-cmdline": (hashlib.sha256(b"quiet").digest(),)}
    assert found(world, buffer(b"kexec-cmdline", b"quiet"), ima_buffers=named) == set()
    other = buffer(b"kexec-cmdline", b"init=/evil")
    assert found(world, other, ima_buffers=named) == {"ima.buffer.unknown"}
    forged = buffer(b"kexec-cmdline", b"init=/evil", hashlib.sha256(b"quiet").digest())
    assert found(world, forged, ima_buffers=named) == {"ima.buffer.digest"}
    # A file's digest doesn't allow a buffer of its name, nor the other way round.
    as_file = entry(fields(named["kexec-cmdline"][0], b"kexec-cmdline"))
    assert found(world, as_file, ima_buffers=named) == {UNKNOWN}


def test_a_weak_key_fails_even_if_it_is_named(world: World) -> None:
    weak = ec.generate_private_key(ec.SECP256K1())
    named = {".ima": (hashlib.sha256(public(weak)).digest(),)}
    assert found(world, loaded(weak), ima_keyrings=named) == {"ima.key.format"}


def test_rules_travel_in_the_policy() -> None:
    policy = Policy(
        scheme="chain",
        ima_keys=(public(KEY),),
        ima_keyrings={".ima": (DIGEST,)},
        ima_buffers={"kexec-cmdline": (DIGEST,)},
    )
    assert load_policy(encode_policy(policy)) == policy


@pytest.mark.parametrize(
    ("key", "problem"),
    [("AA==", "key 0 is no certificate"), ("", "key 0 is no certificate"), ("?", "base64")],
)
def test_an_unusable_key_is_named(key: str, problem: str) -> None:
    with pytest.raises(PolicyError, match=problem):
        load_policy(json.dumps({"scheme": "chain", "ima_keys": [key]}).encode())


def test_entries_of_these_tests_are_what_the_kernel_writes() -> None:
    assert fields(DIGEST, b"/a", b"sig") == (
        sized(b"sha256:\0" + DIGEST) + sized(b"/a\0") + sized(b"sig")
    )


def test_a_signature_that_a_list_repeats_is_checked_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[bytes] = []
    check = ima_signature._is_signed

    def counted(key: PublicKey, made: bytes, digest: bytes, algorithm: HashAlgorithm) -> bool:
        checked.append(made)
        return check(key, made, digest, algorithm)

    monkeypatch.setattr(ima_signature, "_is_signed", counted)
    good = signed(signature(KEY))
    assert found(world, *[good] * 50, ima_keys=(public(KEY),)) == set()
    assert len(checked) == 1
    # A key that is loaded later makes good what was wrong before.
    late = signed(signature(OTHER))
    rings = {".ima": (hashlib.sha256(public(OTHER)).digest(),)}
    entries = (late, loaded(OTHER), late)
    result = judge(
        world,
        with_ima(world, *entries),
        world.policy(ima_templates=TEMPLATES, ima_keys=(public(KEY),), ima_keyrings=rings),
    )
    assert [failure.id for failure in result.failures] == [SIGNATURE]


def test_wrong_signatures_are_checked_only_so_often(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_rules, "_MAX_WRONG_SIGNATURES", 5)
    wrong = [signed(signature(KEY), path=b"/bin/%d" % n, digest=bytes(32)) for n in range(6)]
    good = signed(signature(KEY))
    policy = world.policy(ima_templates=TEMPLATES, ima_keys=(public(KEY),))
    result = judge(world, with_ima(world, *wrong, good), policy)
    assert {failure.id for failure in result.failures} == {SIGNATURE}
    details = [failure.detail for failure in result.failures]
    assert [("not checked after 5 wrong ones" in detail) for detail in details] == [False] * 5 + [
        True,
        True,
    ]
