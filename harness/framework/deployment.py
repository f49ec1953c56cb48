"""The whole framework on one machine: host, vTPM service in its container, and pods.

Every role is a process of its own, and only the descriptors it needs reach it. What stands in
for hardware is named by ``policy_trust`` and by the caller's provenance.
"""

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from harness.framework import wire
from harness.framework.errors import FrameworkError
from harness.framework.evidence import binding, bundle
from harness.framework.evidence.bundle import Quote, TeeEvidence
from harness.framework.hardware_tpm.hardware_tpm import Issuer
from harness.framework.host.platform import (
    HostPlatform,
    hardware_tpm,
    pod_components,
    run_agent,
    service_components,
    service_trust,
)
from harness.framework.lifetime import die_with_parent
from harness.framework.tee.csv_device import GuestDevice, serve_guest
from harness.framework.tee.csv_processor import launch_digest
from harness.framework.tpm.keys import AkKind
from harness.framework.tpm.tcti import bound_waiting
from harness.framework.verify.policy import TeeRoot
from harness.framework.vtpm import channel, isolation
from harness.framework.vtpm.channel import ChannelIdentity
from harness.framework.vtpm.instance import Channel
from harness.framework.vtpm.pod import FrameworkPod, decode_launch
from harness.framework.vtpm.service import SERVICE_NAME

__all__ = ["Deployment", "FrameworkPod", "HostPlatform", "TrustMaterial"]

_START_TIMEOUT_S = 20.0
_TIMEOUT_S = 60.0


class TrustMaterial(NamedTuple):
    """What a policy needs in order to judge this deployment's pods."""

    authority_root: bytes
    crls: tuple[bytes, ...]
    tee_root: TeeRoot
    measurements: tuple[bytes, ...]


class Deployment:
    """Starts and ends everything a pod needs; use as a context manager.

    Raises ``FrameworkError`` when a part does not start, with its own last line.
    """

    def __init__(
        self,
        host: HostPlatform | Path,
        workdir: Path,
        *,
        issuer: Issuer = "attestation-key",
        channel: Channel = "tls",
        deep_quote: bool = False,
        fresh_report: bool = False,
    ) -> None:
        self._host = host if isinstance(host, HostPlatform) else HostPlatform.provision(host)
        self._workdir = workdir.resolve()
        self._issuer: Issuer = issuer
        self._channel: Channel = channel
        self._deep_quote = deep_quote
        self._fresh_report = fresh_report
        self._isolation = isolation.available()
        self._stack: list[Callable[[], Any]] = []

    @property
    def isolation(self) -> str:
        """What keeps the vTPM service apart from the host here."""
        return str(self._isolation)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process, the newest first."""
        while self._stack:
            self._stack.pop()()

    def _start(self) -> None:
        self._workdir.mkdir(parents=True, exist_ok=True)
        for left_over in ("hardware-tpm", "state", "bundle", "oci"):
            shutil.rmtree(self._workdir / left_over, ignore_errors=True)
        tpm = hardware_tpm(self._host, self._workdir).start()
        self._stack.append(tpm.stop)
        processor = self._host.processor
        trust = service_trust(processor)
        service = processor.launch(service_components(trust))
        self._service_measurement = service.measurement
        pod = processor.launch(pod_components())
        agent = self._listener("agent.sock")
        for name, guest in (("service-csv.sock", service), ("pod-csv.sock", pod)):
            listener = self._listener(name)
            self._child(partial(serve_guest, guest, listener))
            listener.close()
        self._child(lambda: run_agent(self._host, tpm, self._issuer, agent))
        agent.close()
        self._agent = self._connect("agent.sock")
        self._stack.append(self._agent.close)
        self._hsk_cek, self._tee_root = processor.hsk_cek, processor.hrk
        self._device = GuestDevice(self._workdir / "pod-csv.sock")
        self._stack.append(self._device.close)
        self._identity = ChannelIdentity.create("pod")
        self._start_service(trust)
        self._await_service()

    def _start_service(self, trust: bytes) -> None:
        listener = self._listener("service.sock")
        state = self._workdir / "state"
        state.mkdir(mode=0o700, exist_ok=True)
        streams = [listener, self._connect("service-csv.sock"), self._connect("agent.sock")]
        path = self._workdir / "service-trust.cbor"
        path.write_bytes(trust)
        policy = path.open("rb")
        container = isolation.Container(
            self._isolation, self._workdir, "harness.framework.vtpm.service",
            ["--state", str(state), "--channel", self._channel], state,
            [*(stream.fileno() for stream in streams), policy.fileno()],
        )  # fmt: skip
        self._stack.append(container.stop)
        self._container = container
        policy.close()
        for stream in streams:
            stream.close()

    def _listener(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        path = self._workdir / name
        path.unlink(missing_ok=True)
        try:
            listener.bind(str(path))
        except OSError as error:
            raise FrameworkError(f"{path}: cannot listen: {error}; use a shorter folder") from error
        os.chmod(path, 0o600)
        listener.listen(64)
        return listener

    def _connect(self, name: str) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(_TIMEOUT_S)
        stream.connect(str(self._workdir / name))
        return stream

    def _child(self, work: Callable[[], None]) -> None:
        """Run one role in a process of its own, which ends with this one."""
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                die_with_parent(parent)
                signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
                work()
                status = 0
            finally:
                os._exit(status)
        self._stack.append(lambda: _end(pid))

    def _hello(self) -> tuple[socket.socket, bytes, bytes]:
        """A control stream to the service, once its TEE report has been checked.

        Gives the stream, the service's channel certificate and its nonce for us.
        """
        stream = self._connect("service.sock")
        stream.settimeout(_START_TIMEOUT_S)
        nonce = os.urandom(32)
        try:
            hello = wire.request(stream, {"op": "hello", "nonce": nonce})
            report = bundle.decode(hello["report"], TeeEvidence, wire.MAX_FRAME_BYTES)
            channel.check_peer(
                hello["certificate"], report, nonce, self._tee_root, (self._service_measurement,)
            )
        except BaseException:
            stream.close()
            raise
        return stream, hello["certificate"], hello["nonce"]

    def _await_service(self) -> None:
        try:
            stream, _, _ = self._hello()
        except (FrameworkError, OSError) as error:
            raise FrameworkError(
                f"the vTPM service does not answer ({error}): {self._container.log_tail()}"
            ) from error
        stream.close()

    def open(self, instance: str, ak: AkKind) -> FrameworkPod:
        """Launch a vTPM and connect the pod, once each side has checked the other's report."""
        begin = time.monotonic_ns()
        control, service, nonce = self._hello()
        with control:
            report = self._report(binding.channel_report_data(self._identity.spki, nonce))
            greeted = time.monotonic_ns()
            answer = wire.request(
                control,
                {
                    "op": "open", "instance": instance, "ak": ak,
                    "certificate": self._identity.certificate, "report": bundle.encode(report),
                },
            )  # fmt: skip
        answered = time.monotonic_ns()
        launched = decode_launch(answer)
        if launched.claims.channel_key_sha256 != channel.key_digest(service):
            raise FrameworkError(
                f"instance {instance}: launched by another service than we talk to"
            )
        decoded = time.monotonic_ns()
        stream = self._attach(instance, service)
        attached = time.monotonic_ns()
        pod = FrameworkPod(stream, launched, self.extras)
        if pod.ak.name != launched.claims.ak_name:
            pod.close()
            raise FrameworkError(f"instance {instance}: the vTPM holds another attestation key")
        stages = launched.stages_ns
        stages["channel"] += greeted - begin + attached - decoded
        stages["certificate"] = decoded - answered + time.monotonic_ns() - attached
        return pod

    def _attach(self, instance: str, service: bytes) -> socket.socket:
        """The pod's own stream to its vTPM."""
        stream = self._connect("service.sock")
        wire.send(stream, {"op": "attach", "instance": instance})
        if self._channel == "tls":
            stream = channel.connect_tls(stream, self._identity, service, SERVICE_NAME)
        bound_waiting(stream)
        return stream

    def _report(self, data: bytes) -> TeeEvidence:
        return TeeEvidence(tee="csv", report=self._device.report(data), certificates=self._hsk_cek)

    def extras(self, nonce: bytes, attest: bytes) -> tuple[TeeEvidence | None, Quote | None]:
        """What the ablation arms add to each attestation: a fresh report, the host's own quote."""
        fresh = deep = None
        if self._fresh_report:
            fresh = self._report(binding.fresh_report_data(nonce, attest))
        if self._deep_quote:
            qualifier = binding.deep_quote_qualifier(nonce, attest)
            made = wire.request(self._agent, {"op": "deep-quote", "qualifier": qualifier})
            deep = Quote(attest=made["attest"], signature=made["signature"])
        return fresh, deep

    def memory(self, instance: str) -> dict[str, int]:
        """Proportional and resident set size of an instance's process, in bytes."""
        control, _, _ = self._hello()
        with control:
            return wire.request(control, {"op": "memory", "instance": instance})

    def policy_trust(self) -> TrustMaterial:
        """The roots and measurements that a policy for these pods must name."""
        authority = self._host.authority
        return TrustMaterial(
            authority_root=authority.root_der,
            crls=(authority.crl(),),
            tee_root=TeeRoot(
                name="software secure processor", tee="csv", kind="emulated", root=self._tee_root
            ),
            measurements=(self._service_measurement, launch_digest(pod_components())),
        )


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
