"""The launched chain, held against openssl and tpm2-tools."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness.framework.deployment import Deployment, FrameworkPod, HostPlatform
from harness.framework.evidence.binding import quote_qualifier
from harness.framework.evidence.bundle import decode_evidence
from harness.framework.verify import Challenge, VerificationCache, verify
from harness.framework.vtpm import isolation
from harness.workloads.attestation import extend_logs
from harness.workloads.by_hand import PodHost, policy_for
from harness.workloads.logs import boot_event_log, ima_log

pytestmark = pytest.mark.oracle
NONCE = b"n" * 32


def run(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pem(path: Path, *certificates: bytes) -> Path:
    path.write_bytes(
        b"".join(
            x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in certificates
        )
    )
    return path


@pytest.mark.parametrize("issuer", ["attestation-key", "issuing-key"])
def test_openssl_accepts_the_chain(host: HostPlatform, issuer: str, tmp_path: Path) -> None:
    with (
        Deployment(host, tmp_path / "d", issuer=issuer) as deployment,  # type: ignore[arg-type]
        deployment.open("pod-0", "rsa2048") as pod,
    ):
        leaf = pem(tmp_path / "leaf.pem", pod.launched.certificate)
        issuers = pem(tmp_path / "issuers.pem", *pod.launched.chain)
        root = pem(tmp_path / "root.pem", host.authority.root_der)
    verify_chain = ("openssl", "verify", "-x509_strict", "-CAfile", root)
    assert "OK" in run(*verify_chain, "-untrusted", issuers, leaf)
    with pytest.raises(AssertionError, match="unable to get local issuer"):
        run(*verify_chain, leaf)


def test_checkquote_accepts_the_quote(pod: FrameworkPod, tmp_path: Path) -> None:
    evidence = decode_evidence(pod.attest(NONCE, b"", b""))
    (tmp_path / "attest").write_bytes(evidence.quote.attest)
    (tmp_path / "signature").write_bytes(evidence.quote.signature)
    key = x509.load_der_x509_certificate(pod.launched.certificate).public_key()
    from cryptography.hazmat.primitives.serialization import PublicFormat

    (tmp_path / "ak.pem").write_bytes(
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    check = (
        "tpm2_checkquote", "-u", tmp_path / "ak.pem", "-m", tmp_path / "attest",
        "-s", tmp_path / "signature", "-g", "sha256", "-q",
    )  # fmt: skip
    run(*check, quote_qualifier(NONCE).hex())
    with pytest.raises(AssertionError):
        run(*check, quote_qualifier(b"m" * 32).hex())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"issuer": "issuing-key"},
        {"channel": "none"},
        {"deep_quote": True},
        {"fresh_report": True},
    ],
    ids=str,
)
def test_every_variant_gives_evidence_that_verifies(
    host: HostPlatform, changes: dict[str, object], tmp_path: Path
) -> None:
    boot, ima = boot_event_log(3), ima_log(40, 3)
    with (
        Deployment(host, tmp_path / "d", **changes) as deployment,  # type: ignore[arg-type]
        deployment.open("pod-0", "ecc256") as pod,
    ):
        extend_logs(pod.tcti, boot, ima)
        policy = policy_for(deployment.policy_trust(), (boot, ima))
        evidence = pod.attest(NONCE, boot.log, ima.binary)
    now = time.time()
    result = verify(evidence, policy, Challenge(NONCE, now - 1, now + 60), now, VerificationCache())
    assert result.failures == ()
    assert (result.accepted, result.trust_kind, result.instance) == (True, "emulated", "pod-0")


def test_without_an_oci_runtime_it_works_and_says_so(
    host: HostPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "available", lambda: isolation.Isolation(None))
    with (
        Deployment(host, tmp_path / "d") as deployment,
        deployment.open("pod-0", "ecc256") as pod,
    ):
        assert deployment.isolation.startswith("none:")
        assert len(pod.ectx.get_random(16)) == 16


def test_an_emulated_processor_needs_consent(deployment: Deployment, pod: FrameworkPod) -> None:
    import msgspec

    trust = deployment.policy_trust()
    policy = policy_for(trust, (boot_event_log(1), ima_log(2, 1)))
    policy = msgspec.structs.replace(policy, accept_emulated=False)
    now = time.time()
    result = verify(pod.attest(NONCE, b"", b""), policy, Challenge(NONCE, now - 1, now + 60), now)
    assert not result.accepted
    assert any(failure.id.startswith("tee.") for failure in result.failures)


def test_tpm2_tools_work_through_the_channel(deployment: Deployment, tmp_path: Path) -> None:
    import threading

    pod = deployment.open("pod-tools", "ecc256")
    host = PodHost(tmp_path / "pods.sock", {"pod-tools": pod})
    threading.Thread(target=host.run, daemon=True).start()
    relay = f"cmd:{sys.executable} -m harness.cli.main attest tcti {tmp_path} --instance pod-tools"
    assert "0x81010002" in run("tpm2_getcap", "-T", relay, "handles-persistent")
    shown = run("tpm2_readpublic", "-T", relay, "-c", "0x81010002")
    assert pod.ak.name.hex() in shown
