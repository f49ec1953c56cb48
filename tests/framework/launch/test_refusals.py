"""What the launch refuses, and what never leaves its place."""

import os
import socket
import ssl
from pathlib import Path

import msgspec
import pytest
from tpm2_pytss import ESAPI

from harness.framework import deployment as deployment_module
from harness.framework import wire
from harness.framework.authority import HostKeys
from harness.framework.deployment import Deployment, FrameworkPod, HostPlatform
from harness.framework.errors import FrameworkError
from harness.framework.evidence import binding, bundle
from harness.framework.hardware_tpm import HardwareTpm
from harness.framework.hardware_tpm.manufacture import chip_key, manufacturer_chain
from harness.framework.host.platform import hardware_tpm, service_components, service_trust
from harness.framework.tee.csv_processor import SoftwareVendor, launch_digest
from harness.framework.tpm import keys
from harness.framework.tpm.issuer import TpmIssuerKey
from harness.framework.tpm.swtpm import Swtpm
from harness.framework.tpm.tcti import StreamTcti
from harness.framework.vtpm import channel
from harness.framework.vtpm.channel import ChannelIdentity
from harness.framework.vtpm.state import EncryptedState
from harness.framework.vtpm.trust import ServiceTrust


@pytest.fixture
def control(workdir: Path) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(10)
    stream.connect(str(workdir / "service.sock"))
    return stream


def test_the_service_refuses_a_pod_whose_report_binds_another_key(
    deployment: Deployment, control: socket.socket
) -> None:
    nonce = wire.request(control, {"op": "hello", "nonce": os.urandom(32)})["nonce"]
    genuine, thief = ChannelIdentity.create("pod"), ChannelIdentity.create("pod")
    report = deployment._report(binding.channel_report_data(genuine.spki, nonce))
    with control, pytest.raises(FrameworkError, match=r"tee\.report\.binding"):
        wire.request(control, _open(thief, bundle.encode(report)))


def test_the_service_refuses_a_replayed_report(
    deployment: Deployment, control: socket.socket
) -> None:
    identity = ChannelIdentity.create("pod")
    report = deployment._report(binding.channel_report_data(identity.spki, os.urandom(32)))
    wire.request(control, {"op": "hello", "nonce": os.urandom(32)})
    with control, pytest.raises(FrameworkError, match=r"tee\.report\.binding"):
        wire.request(control, _open(identity, bundle.encode(report)))


def test_open_needs_a_nonce_of_its_own(control: socket.socket) -> None:
    with control, pytest.raises(FrameworkError, match="open without hello"):
        wire.request(control, _open(ChannelIdentity.create("pod"), b""))


def test_a_service_with_another_root_is_neither_trusted_nor_given_a_key(
    host: HostPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host hands the service a root of its own: the launch digest gives it away."""
    genuine = service_trust
    forged = bundle.decode(genuine(host.processor), ServiceTrust, 1 << 16)
    forged = msgspec.structs.replace(forged, tee_root=SoftwareVendor().hrk)

    honest = launch_digest(service_components(genuine(host.processor)))
    assert launch_digest(service_components(bundle.encode(forged))) != honest
    # A processor measures what it launches, so the forged policy shows in every report.
    monkeypatch.setattr(
        deployment_module, "service_trust", lambda _processor, **_: bundle.encode(forged)
    )
    with (
        pytest.raises(FrameworkError, match=r"does not answer.*measurement"),
        Deployment(host, tmp_path / "d"),
    ):
        pass


def _open(identity: ChannelIdentity, report: bytes) -> dict[str, object]:
    return {
        "op": "open", "instance": "pod-x", "ak": "ecc256",
        "certificate": identity.certificate, "report": report,
    }  # fmt: skip


@pytest.mark.parametrize("how", ["another key", "no TLS"])
def test_only_the_pod_that_was_launched_reaches_its_vtpm(
    pod: FrameworkPod, control: socket.socket, workdir: Path, how: str
) -> None:
    service = wire.request(control, {"op": "hello", "nonce": os.urandom(32)})["certificate"]
    control.close()
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(10)
    stream.connect(str(workdir / "service.sock"))
    wire.send(stream, {"op": "attach", "instance": "pod-fixture"})
    command = bytes.fromhex("80010000000c0000017b0020")
    if how == "no TLS":
        stream.sendall(command)
        assert b"\x80\x01\x00\x00" not in stream.recv(4096)[:4]
        return
    thief = ChannelIdentity.create("pod")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _command_over_tls(stream, thief, service, command)
    assert len(pod.ectx.get_random(8)) == 8


def _command_over_tls(
    stream: socket.socket, identity: ChannelIdentity, service: bytes, command: bytes
) -> None:
    """TLS 1.3: a client learns that it was refused with its first read."""
    secured = channel.connect_tls(stream, identity, service, "vtpm-service")
    secured.sendall(command)
    if not secured.recv(4096):
        raise ConnectionError("closed")


def test_a_quote_can_not_be_forged_with_the_issuing_key(host: HostPlatform, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    with hardware_tpm(host, tmp_path) as tpm, tpm.connect() as stream:
        ectx = ESAPI(StreamTcti(stream))
        issuer = TpmIssuerKey(ectx, keys.persistent_key(ectx, keys.AK_HANDLE))
        signature = issuer.sign(b"a certificate", ec.ECDSA(hashes.SHA256()))
        issuer.public_key().verify(signature, b"a certificate", ec.ECDSA(hashes.SHA256()))
        with pytest.raises(Exception, match="ticket"):
            issuer.sign(b"\xffTCG\x80\x18 forged", ec.ECDSA(hashes.SHA256()))
        with pytest.raises(NotImplementedError):
            issuer.private_numbers()
        ectx.close()


def test_the_host_certifies_only_attestation_keys_that_are_where_they_say(
    host: HostPlatform, tmp_path: Path
) -> None:
    vtpm, tpm = Swtpm(tmp_path / "v"), hardware_tpm(host, tmp_path)
    with vtpm, tpm, vtpm.connect() as inner, tpm.connect() as outer:
        guest, ectx = ESAPI(StreamTcti(inner)), ESAPI(StreamTcti(outer))
        ek, parent = keys.create_endorsement_key(guest), keys.create_storage_key(guest)
        ak = keys.create_signing_key(guest, parent.handle, "ecc256", keys.AK_HANDLE)
        free = keys.create_signing_key(
            guest, parent.handle, "ecc256", keys.ISSUING_KEY_HANDLE, restricted=False
        )
        hardware = HardwareTpm(ectx, "attestation-key", host.certificates())
        with pytest.raises(FrameworkError, match="attributes"):
            hardware.begin("pod", free.public, free.name, ek.public)
        with pytest.raises(FrameworkError, match="Name"):
            hardware.begin("pod", ak.public, free.name, ek.public)
        pending = hardware.begin("pod", ak.public, ak.name, ek.public)
        claims = bundle.LaunchClaims(
            instance="pod", ak_name=ak.name, ek_name=ek.name, channel_key_sha256=bytes(32),
            host_ak_name=hardware.ak_name, nonce=pending.nonce,
        )  # fmt: skip
        with pytest.raises(FrameworkError, match="not in the vTPM"):
            hardware.issue(pending, b"guess" * 7, claims, b"", b"")
        other = msgspec.structs.replace(claims, instance="pod-2")
        with pytest.raises(FrameworkError, match="for another key"):
            hardware.issue(pending, pending.secret, other, b"", b"")
        ectx.close()
        guest.close()


def test_enrolment_refuses_a_foreign_manufacturer_and_a_wrong_answer(
    host: HostPlatform, tmp_path: Path
) -> None:
    stranger = HostPlatform.provision(tmp_path / "stranger", "stranger")
    with hardware_tpm(host, tmp_path) as tpm, tpm.connect() as stream:
        ectx = ESAPI(StreamTcti(stream))
        from harness.framework.hardware_tpm.hardware_tpm import _RSA_EK_CERTIFICATE, _read_nv

        ek, ak = (
            keys.persistent_key(ectx, keys.EK_HANDLE),
            keys.persistent_key(ectx, keys.AK_HANDLE),
        )
        issuer, root = manufacturer_chain(host.directory)
        mine = HostKeys(
            host="host-0", ek_certificate=_read_nv(ectx, _RSA_EK_CERTIFICATE), ek_chain=(issuer,),
            ek_public=ek.public, ak_public=ak.public, ak_name=ak.name,
        )  # fmt: skip
        ectx.close()
    authority = host.authority
    with pytest.raises(FrameworkError, match="no manufacturer root"):
        authority.challenge(mine, (manufacturer_chain(stranger.directory)[1],))
    with pytest.raises(FrameworkError, match="another TPM"):
        authority.challenge(msgspec.structs.replace(mine, ek_public=ak.public), (root,))
    with pytest.raises(FrameworkError, match="activation failed"):
        authority.certify(authority.challenge(mine, (root,)), b"x" * 32)


def test_revocation_reaches_the_list(host: HostPlatform) -> None:
    from cryptography import x509

    authority = host.authority
    authority.revoke(0x1234)
    listed = x509.load_der_x509_crl(authority.crl())
    assert listed.get_revoked_certificate_by_serial_number(0x1234) is not None
    public = authority.certificate.public_key()
    assert listed.is_signature_valid(public)  # type: ignore[arg-type]


def test_state_is_bound_to_its_instance_name_and_key(tmp_path: Path) -> None:
    key = os.urandom(32)
    mine = EncryptedState(tmp_path / "a", "pod-a", key)
    mine["permall"] = b"secret" * 100
    sealed = (tmp_path / "a" / "permall.enc").read_bytes()
    assert b"secret" not in sealed
    assert dict(EncryptedState(tmp_path / "a", "pod-a", key)) == {"permall": b"secret" * 100}
    for state in (
        EncryptedState(tmp_path / "a", "pod-b", key),
        EncryptedState(tmp_path / "a", "pod-a", os.urandom(32)),
    ):
        with pytest.raises(FrameworkError, match="another instance"):
            state["permall"]
    (tmp_path / "a" / "volatile.enc").write_bytes(sealed)
    with pytest.raises(FrameworkError, match="state was changed"):
        mine["volatile"]


def test_states_at_rest_hold_no_plain_tpm_structures(
    host: HostPlatform, workdir: Path, pod: FrameworkPod
) -> None:
    # The public point of a key stands beside its private part in a plain TPM state.
    point = pod.ak.public[-32:]
    files = [path for path in (workdir / "state").rglob("*") if path.is_file()]
    assert files
    assert not any(point in path.read_bytes() for path in files)
    hardware = [path for path in (host.directory / "tpm").rglob("*") if path.is_file()]
    ak = host.certificates()["attestation-key"]
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(ak).public_key()
    raw = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert hardware
    assert not any(raw[1:33] in path.read_bytes() for path in hardware)
    assert chip_key(host.directory).stat().st_mode & 0o777 == 0o600
