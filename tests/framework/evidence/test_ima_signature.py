"""File signatures made by evmctl, and those of version 3 by the kernel's description."""

import contextlib
import hashlib
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.framework.errors import ParseError
from harness.framework.evidence import ima_ascii, ima_signature
from harness.framework.evidence.ima_signature import KeyRing, NamedKey

CONTENT = b"signed content"
ALGORITHMS = ["sha256", "sha384", "sha512"]


class Signer(NamedTuple):
    folder: Path
    key: Path
    certificate: bytes

    @property
    def named(self) -> NamedKey:
        key = ima_signature.load_key(self.certificate)
        assert key is not None
        return key

    @property
    def ring(self) -> KeyRing:
        return KeyRing([self.named])

    def sign(self, content: bytes = CONTENT, algorithm: str = "sha256") -> bytes:
        (self.folder / "file").write_bytes(content)
        run("evmctl", "ima_sign", "--sigfile", "-a", algorithm, "--key", str(self.key),
            str(self.folder / "file"))  # fmt: skip
        return (self.folder / "file.sig").read_bytes()


def run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout + done.stderr


def make_signer(folder: Path, *options: str) -> Signer:
    key, certificate = folder / "key.pem", folder / "cert.der"
    run("openssl", "genpkey", *options, "-out", str(key))
    run("openssl", "req", "-x509", "-new", "-key", str(key), "-subj", "/CN=ima", "-days", "9",
        "-outform", "DER", "-out", str(certificate))  # fmt: skip
    return Signer(folder, key, certificate.read_bytes())


KEYS = {
    "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "p256": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "p521": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"),
}


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signer]:
    return {name: make_signer(tmp_path_factory.mktemp(name), *how) for name, how in KEYS.items()}


def digest(algorithm: str, content: bytes = CONTENT) -> bytes:
    return hashlib.new(algorithm, content).digest()


@pytest.mark.oracle
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", KEYS)
def test_signatures_by_evmctl_verify_and_no_others(
    signers: dict[str, Signer], kind: str, algorithm: str
) -> None:
    signer = signers[kind]
    raw = signer.sign(algorithm=algorithm)
    good = (algorithm, digest(algorithm), "ima")
    assert signer.ring.problem(raw, *good) is None
    for others in (KeyRing(), *(o.ring for name, o in signers.items() if name != kind)):
        assert "no such key" in str(others.problem(raw, *good))
    same_id = KeyRing([signers["rsa" if kind != "rsa" else "p256"].named._replace(
        key_id=signer.named.key_id)])  # fmt: skip
    assert "the signature is wrong" in str(same_id.problem(raw, *good))
    changed = raw[:-1] + bytes([raw[-1] ^ 1])
    assert "the signature is wrong" in str(signer.ring.problem(changed, *good))
    wrong = digest(algorithm, b"other content")
    assert "the signature is wrong" in str(signer.ring.problem(raw, algorithm, wrong, "ima"))
    assert "another kind of digest" in str(signer.ring.problem(raw, algorithm, good[1], "verity"))
    other = next(name for name in ALGORITHMS if name != algorithm)
    assert f"the digest is {other}" in str(signer.ring.problem(raw, other, digest(other), "ima"))


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KEYS)
def test_a_whole_list_of_signed_files_verifies_as_in_evmctl(
    signers: dict[str, Signer], kind: str, tmp_path: Path
) -> None:
    signer = signers[kind]
    contents = [b"a", b"b", b"c"]
    rows = []
    for content in contents:
        raw = signer.sign(content)
        data = sized(b"sha256:\0" + digest("sha256", content)) + sized(b"/f\0") + sized(raw)
        sha1 = hashlib.sha1(data).hexdigest()
        shown = digest("sha256", content).hex()
        rows.append(f"10 {sha1} ima-sig sha256:{shown} /f {raw.hex()}")
        assert signer.ring.problem(raw, "sha256", digest("sha256", content), "ima") is None
    (tmp_path / "list").write_bytes(ima_ascii.to_binary("\n".join(rows).encode()))
    (tmp_path / "pcrs").write_text("".join(f"PCR-{n:02d}: {'00 ' * 31}00\n" for n in range(24)))
    (tmp_path / "cert").write_bytes(signer.certificate)
    command = [
        "evmctl", "-v", "ima_measurement", "--verify-sig", "--key", str(tmp_path / "cert"),
        "--pcrs", f"sha256,{tmp_path / 'pcrs'}", str(tmp_path / "list"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout + done.stderr).count("verification is OK") == len(contents)


def sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize(("hash_id", "algorithm"), [(4, "sha256"), (6, "sha512")])
def test_version_3_signs_what_kind_of_digest_it_is(
    signers: dict[str, Signer], kind: str, hash_id: int, algorithm: str
) -> None:
    """struct ima_file_id: type 6 (fs-verity), hash, digest."""
    signer, tree = signers[kind], digest(algorithm, b"root of the tree")
    key = serialization.load_pem_private_key(signer.key.read_bytes(), None)
    used = {"sha256": hashes.SHA256(), "sha512": hashes.SHA512()}[algorithm]
    file_id = bytes([6, hash_id]) + tree
    if isinstance(key, rsa.RSAPrivateKey):
        made = key.sign(file_id, padding.PKCS1v15(), used)
    else:
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        made = key.sign(file_id, ec.ECDSA(used))
    raw = struct.pack(">BBBIH", 6, 3, hash_id, signer.named.key_id, len(made)) + made
    assert signer.ring.problem(raw, algorithm, tree, "verity") is None
    assert "another kind of digest" in str(signer.ring.problem(raw, algorithm, tree, "ima"))
    other = digest(algorithm, b"another tree")
    assert "the signature is wrong" in str(signer.ring.problem(raw, algorithm, other, "verity"))


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "0 bytes"),
        (b"\3\2\4\0\0\0\0\0", "8 bytes"),
        (b"\3\2\4\0\0\0\0\0\2a", "1 bytes of signature, its header says 2"),
        (b"\3\2\4\0\0\0\0\0\0a", "1 bytes of signature, its header says 0"),
        (b"\3\1\4\0\0\0\0\0\1a", "type 3, version 1"),
        (b"\3\3\4\0\0\0\0\0\1a", "type 3, version 3"),
        (b"\6\2\4\0\0\0\0\0\1a", "type 6, version 2"),
        (b"\5\2\4\0\0\0\0\0\1a", "type 5"),
        (b"\3\2\2\0\0\0\0\0\1a", "hash 2"),
    ],
)
def test_what_is_no_acceptable_signature_says_why(raw: bytes, problem: str) -> None:
    assert problem in str(KeyRing().problem(raw, "sha256", bytes(32), "ima"))


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KEYS)
def test_key_ids_are_those_that_evmctl_writes(signers: dict[str, Signer], kind: str) -> None:
    signer = signers[kind]
    named = ima_signature.parse(signer.sign()).key_id
    pem = run("openssl", "pkey", "-in", str(signer.key), "-pubout").encode()
    der = subprocess.run(
        ["openssl", "pkey", "-in", str(signer.key), "-pubout", "-outform", "DER"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    for form in (signer.certificate, pem, der):
        key = ima_signature.load_key(form)
        assert key is not None
        assert key.key_id == named


@pytest.mark.parametrize(
    "options",
    [
        ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"),
        ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"),
        ("-algorithm", "ED25519"),
    ],
)
def test_keys_that_are_too_weak_or_of_another_kind(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    signer = make_signer(tmp_path, *options)
    with pytest.raises(ParseError, match="expected RSA from 2048 bits"):
        ima_signature.load_key(signer.certificate)


CERTIFICATE = bytes.fromhex(
    (Path(__file__).parents[2] / "data" / "keylime" / "kernel-lines").read_text().split()[-1]
)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(CERTIFICATE)), st.binary(max_size=6), st.integers(0, 6))
def test_noise_is_no_key_or_a_parse_error(at: int, noise: bytes, removed: int) -> None:
    with contextlib.suppress(ParseError):
        ima_signature.load_key(CERTIFICATE[:at] + noise + CERTIFICATE[at + removed :])


def test_a_text_that_is_no_key_is_none() -> None:
    for text in (b"", b"quiet", b"-----BEGIN nothing", bytes(20000)):
        assert ima_signature.load_key(text) is None
