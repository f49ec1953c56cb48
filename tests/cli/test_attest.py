"""The framework by hand, as its help describes it."""

import base64
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

NONCE = "ab" * 32
COMMAND = (sys.executable, "-m", "harness.cli.main", "attest")


def attest(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *(str(part) for part in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def served() -> Iterator[Path]:
    # Not pytest's own folder: unix sockets want short paths.
    with tempfile.TemporaryDirectory(prefix="ab-") as folder:
        assert attest("provision", folder).returncode == 0
        server = subprocess.Popen([*COMMAND, "host", folder], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        while "serving" not in (line := server.stdout.readline()):
            assert line, "host ended before it served"
        yield Path(folder)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0


@pytest.fixture(scope="module")
def evidence(served: Path) -> Path:
    path = served / "evidence.cbor"
    done = attest("attest", served, "--nonce", NONCE, "--out", path)
    assert done.returncode == 0, done.stderr
    return path


def verify(served: Path, evidence: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return attest("verify", evidence, "--policy", served / "policy.json", "--nonce", NONCE, *more)


def test_evidence_is_accepted_and_says_that_its_root_is_emulated(
    served: Path, evidence: Path
) -> None:
    done = verify(served, evidence)
    assert done.returncode == 0, done.stderr
    assert "accepted: pod-0 on host-0, TEE trust emulated" in done.stdout


def test_the_signed_result_is_what_was_shown(served: Path, evidence: Path, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "verifier.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    done = verify(served, evidence, "--sign", path)
    assert done.returncode == 0, done.stderr
    head, body, signature = done.stdout.strip().split(".")
    raw = _decoded(signature)
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    signed = f"{head}.{body}".encode()
    key.public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    shown = json.loads(verify(served, evidence, "--json").stdout)
    assert json.loads(_decoded(body)).keys() == shown.keys()
    assert json.loads(_decoded(body))["submods"] == shown["submods"]
    assert verify(served, evidence, "--sign", evidence).returncode == 2


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_another_nonce_and_a_changed_byte_are_rejected(
    served: Path, evidence: Path, tmp_path: Path
) -> None:
    policy = served / "policy.json"
    done = attest("verify", evidence, "--policy", policy, "--nonce", "cd" * 32)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "quote.nonce" in done.stderr
    changed = bytearray(evidence.read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / "changed").write_bytes(changed)
    assert verify(served, tmp_path / "changed").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("attest", "/nowhere", "--out", "x"), 4, "attest host /nowhere"),
        (("verify", "/nowhere", "--policy", "p", "--nonce", NONCE), 2, "/nowhere: cannot be read"),
        (("verify", "/dev/null", "--policy", "/dev/null", "--nonce", "zz"), 2, "16 to 64 bytes"),
    ],
)
def test_wrong_use_is_one_line(arguments: tuple[str, ...], code: int, says: str) -> None:
    done = attest(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert says in done.stderr


def test_files_that_cannot_be_written_are_one_line(served: Path) -> None:
    for command in (
        ("attest", served, "--out", "/nowhere/evidence"),
        ("provision", "/proc/attestbench"),
    ):
        done = attest(*command)
        assert (done.returncode, done.stderr.count("\n")) == (4, 1)
        assert str(command[-1]) in done.stderr
        assert "unexpected" not in done.stderr


def test_a_host_keeps_what_the_policys_owner_set() -> None:
    with tempfile.TemporaryDirectory(prefix="ab-") as folder:
        policy = Path(folder) / "policy.json"
        for said in ("", "renewed, the rest kept"):
            server = subprocess.Popen([*COMMAND, "host", folder], stdout=subprocess.PIPE, text=True)
            assert server.stdout is not None
            told = ""
            while "serving" not in told:
                line = server.stdout.readline()
                assert line
                told += line
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
            assert said in told
            written = json.loads(policy.read_bytes())
            assert written["accept_reset"] is bool(said)
            stale = {"accept_reset": True, "accepted_measurements": []}
            policy.write_text(json.dumps(written | stale))
        assert len(written["accepted_measurements"]) == 1
        (Path(folder) / "policy.json").write_text("{")
        refused = attest("host", folder)
        assert refused.returncode == 2
        assert "correct it, or remove it" in refused.stderr


def test_a_revoked_host_is_rejected(served: Path, evidence: Path) -> None:
    before = (served / "policy.json").read_bytes()
    assert attest("revoke", served).returncode == 0
    done = verify(served, evidence)
    (served / "policy.json").write_bytes(before)
    assert done.returncode == 1
    assert "chain.revoked" in done.stderr
