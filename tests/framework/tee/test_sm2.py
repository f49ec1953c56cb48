"""SM2 against GM/T 0003.5's example and the openssl program."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.framework.tee import sm2, sm2_curve
from harness.framework.tee.sm2 import PrivateKey, Signature

Signer = Callable[[PrivateKey, bytes, bytes], Signature]
Verifier = Callable[[bytes, bytes, bytes, Signature], bool]
USER = b"HYGON-SSD-PEK"
MESSAGE = b"the signed bytes"
SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004")
VERIFIERS = [pytest.param(sm2.verify, id="libcrypto"), pytest.param(sm2.verify_python, id="python")]
SIGNERS = [pytest.param(sm2.sign, id="libcrypto"), pytest.param(sm2.sign_python, id="python")]


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], check=False, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.mark.oracle
@pytest.mark.parametrize("sign", SIGNERS)
def test_openssl_program_accepts_our_signature_and_refuses_it_for_another_id(
    sign: Signer, tmp_path: Path
) -> None:
    key = sm2.generate()
    signature = encode_dss_signature(*sign(key, USER, MESSAGE))
    (tmp_path / "key.der").write_bytes(SPKI + key.public)
    (tmp_path / "signature").write_bytes(signature)
    (tmp_path / "message").write_bytes(MESSAGE)

    def check(user: bytes) -> str:
        return openssl(
            "pkeyutl", "-verify", "-rawin", "-digest", "sm3", "-pubin", "-keyform", "DER",
            "-inkey", tmp_path / "key.der", "-in", tmp_path / "message",
            "-sigfile", tmp_path / "signature", "-pkeyopt", f"distid:{user.decode()}",
        )  # fmt: skip

    assert "Signature Verified Successfully" in check(USER)
    assert "Signature Verified Successfully" not in check(b"1234567812345678")


@pytest.mark.oracle
@pytest.mark.parametrize("verify", VERIFIERS)
def test_signature_of_the_openssl_program_verifies(verify: Verifier, tmp_path: Path) -> None:
    openssl("genpkey", "-algorithm", "SM2", "-out", tmp_path / "key.pem")
    openssl("pkey", "-in", tmp_path / "key.pem", "-pubout", "-outform", "DER", "-out",
            tmp_path / "public.der")  # fmt: skip
    (tmp_path / "message").write_bytes(MESSAGE)
    openssl("pkeyutl", "-sign", "-rawin", "-digest", "sm3", "-inkey", tmp_path / "key.pem",
            "-in", tmp_path / "message", "-out", tmp_path / "signature",
            "-pkeyopt", f"distid:{USER.decode()}")  # fmt: skip
    public = (tmp_path / "public.der").read_bytes()[-64:]
    signature = Signature(*decode_dss_signature((tmp_path / "signature").read_bytes()))
    assert verify(public, USER, MESSAGE, signature)
    assert not verify(public, USER, MESSAGE + b".", signature)


@pytest.mark.parametrize("verify", VERIFIERS)
def test_wrong_id_key_and_ranges_are_refused(verify: Verifier) -> None:
    key = sm2.generate()
    r, s = sm2.sign(key, USER, MESSAGE)
    assert verify(key.public, USER, MESSAGE, Signature(r, s))
    assert not verify(key.public, USER + b" ", MESSAGE, Signature(r, s))
    assert not verify(sm2.generate().public, USER, MESSAGE, Signature(r, s))
    assert not verify(bytes(64), USER, MESSAGE, Signature(r, s))
    for bad in (0, sm2_curve.N, r + sm2_curve.N):
        assert not verify(key.public, USER, MESSAGE, Signature(bad, s))
        assert not verify(key.public, USER, MESSAGE, Signature(r, bad))


def test_libcrypto_is_used_here() -> None:
    assert sm2.available()


@settings(max_examples=15, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=40))
def test_both_implementations_accept_each_other(message: bytes, user: bytes) -> None:
    key = sm2.generate()
    assert sm2.verify_python(key.public, user, message, sm2.sign(key, user, message))
    assert sm2.verify(key.public, user, message, sm2.sign_python(key, user, message))
