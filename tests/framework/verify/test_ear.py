"""The signed result, read back by an independent JWS implementation: openssl and json."""

import base64
import json
import subprocess
from pathlib import Path
from typing import cast

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.framework.errors import FrameworkError
from harness.framework.verify import FAILURES
from harness.framework.verify.ear import ear_claims, sign_ear
from harness.framework.verify.failures import Failure, FailureList
from harness.framework.verify.result import AttestationResult, TrustKind


def result(kind: TrustKind, *failures: str) -> AttestationResult:
    found = tuple(Failure(failure, "detail") for failure in failures)
    return AttestationResult(
        not found, found, kind, "pod-1", "host-a", "chip", b"m" * 32, 7, boot_judged=True
    )


def submodule(attestation: AttestationResult) -> dict[str, object]:
    claims = ear_claims(attestation, b"n" * 16, 1000.9, "ab" * 32)
    submodules = cast(dict[str, dict[str, object]], claims["submods"])
    return submodules["vtpm"]


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize(
    ("kind", "status", "hardware"),
    [("real", "affirming", 2), ("emulated", "warning", 32), ("none", "affirming", 0)],
)
def test_only_real_hardware_is_affirmed(kind: TrustKind, status: str, hardware: int) -> None:
    claims = submodule(result(kind))
    assert claims["ear.status"] == status
    assert cast(dict[str, int], claims["ear.trustworthiness-vector"])["hardware"] == hardware
    assert claims["attestbench.trust-kind"] == kind


def test_every_failure_contraindicates_its_claim() -> None:
    for failure in FAILURES:
        claims = submodule(result("real", failure))
        assert claims["ear.status"] == "contraindicated"
        vector = cast(dict[str, int], claims["ear.trustworthiness-vector"])
        assert sorted(vector.values()) == [0, 0, 0, 96], failure
        assert claims["attestbench.failures"] == [f"{failure}: detail"]


def test_only_an_accepted_result_names_a_key_to_prove() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    accepted = result("real")
    named = msgspec.structs.replace(accepted, confirmation_key=der)
    assert "cnf" in ear_claims(named, b"n" * 32, 1.0, "d")
    refused = named.rejected(Failure("chain.ak.revoked", ""))
    assert (refused.accepted, refused.state, refused.confirmation_key) == (False, None, b"")
    forged = msgspec.structs.replace(named, accepted=False)
    for one in (refused, forged):
        assert "cnf" not in ear_claims(one, b"n" * 32, 1.0, "d")


def test_what_was_not_judged_is_not_affirmed() -> None:
    replayed_only = msgspec.structs.replace(result("real"), boot_judged=False)
    vector = cast(dict[str, int], submodule(replayed_only)["ear.trustworthiness-vector"])
    assert vector == {
        "instance-identity": 2, "hardware": 2, "configuration": 0, "executables": 2,
    }  # fmt: skip


def test_a_relayed_quote_speaks_against_who_was_attested() -> None:
    for failure in ("quote.nonce", "quote.confirmation.missing", "freshness.nonce"):
        claims = submodule(result("real", failure))
        vector = cast(dict[str, int], claims["ear.trustworthiness-vector"])
        assert vector["instance-identity"] == 96, failure
    claims = submodule(result("real", "quote.pcr.values"))
    assert cast(dict[str, int], claims["ear.trustworthiness-vector"])["configuration"] == 96


@pytest.mark.oracle
def test_openssl_verifies_the_signature(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    token = sign_ear(ear_claims(result("real"), b"n" * 16, 1000.9, "ab" * 32), key)
    signed, _, signature = token.rpartition(".")
    raw = decode(signature)
    assert len(raw) == 64
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    (tmp_path / "signature").write_bytes(der)
    (tmp_path / "signed").write_text(signed)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    command = "openssl dgst -sha256 -verify key.pem -signature signature signed"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Verified OK"
    header, claims = (json.loads(decode(part)) for part in signed.split("."))
    assert header == {"alg": "ES256", "typ": "JWT"}
    assert claims["iat"] == 1000
    assert decode(claims["eat_nonce"]) == b"n" * 16


def test_other_curves_are_refused() -> None:
    with pytest.raises(FrameworkError, match="P-256"):
        sign_ear({}, ec.generate_private_key(ec.SECP384R1()))


def test_every_failure_id_is_asserted_by_a_test() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parents[1].glob("*/test_*.py"))
    assert [failure for failure in FAILURES if f'"{failure}"' not in text] == []


def test_unknown_failure_ids_cannot_be_reported() -> None:
    with pytest.raises(KeyError):
        FailureList().add("chain.typo", "")
