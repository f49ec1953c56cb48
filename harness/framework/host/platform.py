"""An enrolled host kept in a directory, and the process that serves its guests.

On a machine without the hardware, the TPM is a swtpm and the secure processor is software. The
key broker belongs to the authority; here it runs beside the agent, with its own state key.
"""

import os
import secrets
import shutil
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from tpm2_pytss import ESAPI

from harness.framework import wire
from harness.framework.authority import Authority
from harness.framework.errors import FrameworkError
from harness.framework.evidence import binding, bundle
from harness.framework.evidence.bundle import LaunchClaims, TeeEvidence
from harness.framework.hardware_tpm import HardwareTpm
from harness.framework.hardware_tpm.hardware_tpm import Issuer, Pending, enrol
from harness.framework.hardware_tpm.manufacture import chip_key, manufacture, manufacturer_chain
from harness.framework.tee import verify_bound
from harness.framework.tee.csv_processor import SoftwareProcessor, launch_digest, open_processor
from harness.framework.tpm.swtpm import Swtpm
from harness.framework.tpm.tcti import StreamTcti
from harness.framework.vtpm import channel
from harness.framework.vtpm.trust import ServiceTrust

_COMPLETE = "enrolled"
_STATE_KEY_BYTES = 32
_PACKAGE = Path(__file__).resolve().parents[1]


def service_trust(processor: SoftwareProcessor, *, relayed: bool = False) -> bytes:
    """The service's own policy (ServiceTrust): which TEE root and which pods it accepts."""
    return bundle.encode(
        ServiceTrust(
            tee_root=processor.hrk,
            certificates=processor.hsk_cek,
            pod_measurements=() if relayed else (launch_digest(pod_components()),),
            relayed=relayed,
        )
    )


def service_components(trust: bytes) -> dict[str, Path | bytes]:
    """What the launch digest of the vTPM service covers: the framework's code and its policy.

    Covering ``trust`` is what keeps the host from giving the service a root of its own.
    """
    files: dict[str, Path | bytes] = {
        f"framework/{path.relative_to(_PACKAGE)}": path
        for pattern in ("*.py", "*.so")
        for path in sorted(_PACKAGE.rglob(pattern))
    }
    return {**files, "trust": trust}


def pod_components() -> dict[str, bytes]:
    """What the pod's launch digest covers. A process has no boot chain, so it is a fixed label."""
    return {"pod": b"attestbench process pod v1"}


@dataclass(frozen=True)
class HostPlatform:
    """A provisioned host: hardware TPM state, certificates, secure processor, authority."""

    directory: Path

    @classmethod
    def provision(
        cls, directory: Path, host: str = "host-0", authority: Path | None = None
    ) -> "HostPlatform":
        """Make and enrol a host; gives the existing one when ``directory`` holds it whole.

        ``authority``: the folder of the one that enrols it; by default the host gets its own.

        Raises ``FrameworkError`` when a program is missing or the enrolment is refused.
        """
        directory = directory.resolve()
        if (directory / _COMPLETE).exists():
            return cls(directory)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True, mode=0o700)
        manufacture(directory)
        if authority is None:
            Authority.create(directory / "authority")
        else:
            shutil.copytree(authority, directory / "authority")
        enrolling = Authority(directory / "authority")
        open_processor(directory / "processor")
        with Swtpm(directory / "tpm", chip_key(directory)) as tpm, tpm.connect() as stream:
            ectx = ESAPI(StreamTcti(stream))
            try:
                chain = enrol(ectx, host, enrolling, manufacturer_chain(directory))
            finally:
                ectx.close()
        for issuer, certificate in chain.items():
            (directory / f"{issuer}.der").write_bytes(certificate)
        (directory / _COMPLETE).touch()
        return cls(directory)

    @property
    def authority(self) -> Authority:
        """The authority that enrolled this host."""
        return Authority(self.directory / "authority")

    @property
    def processor(self) -> SoftwareProcessor:
        """The host's secure processor."""
        return SoftwareProcessor(self.directory / "processor")

    def revoke(self) -> None:
        """Have the authority revoke this host's certificates."""
        authority = self.authority
        for der in self.certificates().values():
            authority.revoke(x509.load_der_x509_certificate(der).serial_number)

    def certificates(self) -> dict[str, bytes]:
        """The host's CA certificates by issuer kind (DER)."""
        return {
            kind: (self.directory / f"{kind}.der").read_bytes()
            for kind in ("attestation-key", "issuing-key")
        }


@dataclass
class Agent:
    """Answers guests and pods of one host: issues, quotes, and releases the service's state key."""

    tpm: HardwareTpm
    processor: SoftwareProcessor
    service_measurement: bytes
    state_key: bytes = field(default_factory=lambda: secrets.token_bytes(_STATE_KEY_BYTES))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, stream: socket.socket) -> None:
        """Answer one peer until it closes the stream."""
        session: dict[str, Any] = {}
        with stream:
            while True:
                try:
                    message = wire.receive(stream)
                except (FrameworkError, OSError):
                    return
                if message is None:
                    return
                try:
                    with self.lock:
                        answer = self._answer(message, session)
                except FrameworkError as error:
                    answer = {"error": str(error)}
                except Exception as error:
                    answer = {"error": f"{message.get('op')}: {type(error).__name__}: {error}"}
                try:
                    wire.send(stream, answer)
                except OSError:
                    return

    def _answer(self, message: Mapping[str, Any], session: dict[str, Any]) -> dict[str, Any]:
        match message["op"]:
            case "begin":
                return self._begin(message, session)
            case "issue":
                return self._issue(message, session)
            case "deep-quote":
                made = self.tpm.quote(message["qualifier"])
                return {"attest": made.attest, "signature": made.signature}
            case "key-nonce":
                session["key-nonce"] = secrets.token_bytes(32)
                return {"nonce": session["key-nonce"]}
            case "key-release":
                return self._release(message, session)
            case other:
                raise FrameworkError(f"unknown request {other!r}")

    def _begin(self, message: Mapping[str, Any], session: dict[str, Any]) -> dict[str, Any]:
        pending = self.tpm.begin(
            message["instance"], message["ak_public"], message["ak_name"], message["ek_public"]
        )
        session["pending"] = pending
        return {
            "credential": pending.credential, "encrypted": pending.encrypted,
            "nonce": pending.nonce, "host_ak_name": self.tpm.ak_name,
        }  # fmt: skip

    def _issue(self, message: Mapping[str, Any], session: dict[str, Any]) -> dict[str, Any]:
        pending: Pending | None = session.pop("pending", None)
        if pending is None:
            raise FrameworkError("issue without begin")
        claims = bundle.decode(message["claims"], LaunchClaims, wire.MAX_FRAME_BYTES)
        evidence = bundle.decode(message["report"], TeeEvidence, wire.MAX_FRAME_BYTES)
        report = verify_bound(evidence, self.processor.hrk, binding.launch_report_data(claims))
        certificate = self.tpm.issue(
            pending, message["secret"], claims, evidence.report, report.measurement
        )
        return {"certificate": certificate, "chain": list(self.tpm.chain)}

    def _release(self, message: Mapping[str, Any], session: dict[str, Any]) -> dict[str, Any]:
        nonce = session.pop("key-nonce", None)
        if nonce is None:
            raise FrameworkError("key-release without key-nonce")
        report = bundle.decode(message["report"], TeeEvidence, wire.MAX_FRAME_BYTES)
        channel.check_peer(
            message["certificate"], report, nonce, self.processor.hrk, (self.service_measurement,)
        )
        peer, sealed = channel.wrap(self.state_key, message["certificate"])
        return {"peer": peer, "sealed": sealed}


def run_agent(
    platform: HostPlatform, tpm: Swtpm, issuer: Issuer, listener: socket.socket, *, relayed: bool
) -> None:
    """Serve guests until the listener is closed; one thread a connection."""
    stream = tpm.connect()
    ectx = ESAPI(StreamTcti(stream))
    processor = platform.processor
    # The broker's own reference value: it takes nobody's word for what was launched.
    measurement = launch_digest(service_components(service_trust(processor, relayed=relayed)))
    agent = Agent(HardwareTpm(ectx, issuer, platform.certificates()), processor, measurement)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=agent.serve, args=(connection,), daemon=True).start()


def hardware_tpm(platform: HostPlatform, directory: Path) -> Swtpm:
    """The host's TPM on a copy of its state, so that every deployment starts from the same TPM."""
    target = directory / "hardware-tpm"
    shutil.copytree(
        platform.directory / "tpm", target, ignore=shutil.ignore_patterns("*.sock*", ".lock")
    )
    os.chmod(target, 0o700)
    return Swtpm(target, chip_key(platform.directory))
