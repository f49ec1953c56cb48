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
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self

from harness.framework import wire
from harness.framework.errors import FrameworkError
from harness.framework.evidence import binding
from harness.framework.evidence.bundle import ImaPrefix, Quote, TeeEvidence
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
from harness.framework.verify.policy import TeeRoot
from harness.framework.vtpm import isolation
from harness.framework.vtpm.channel import ChannelIdentity
from harness.framework.vtpm.client import ServiceClient, connect
from harness.framework.vtpm.device import TpmDevice
from harness.framework.vtpm.instance import Channel
from harness.framework.vtpm.pod import DevicePod, FrameworkPod

__all__ = ["Deployment", "DevicePod", "FrameworkPod", "HostPlatform", "TrustMaterial"]


class TrustMaterial(NamedTuple):
    """What a policy needs in order to judge this deployment's pods.

    ``measurements`` are the vTPM service's, ``pod_measurements`` the pods'.
    """

    authority_root: bytes
    crls: tuple[bytes, ...]
    tee_root: TeeRoot
    measurements: tuple[bytes, ...]
    pod_measurements: tuple[bytes, ...]


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
        relayed: bool = False,
    ) -> None:
        """``relayed``: the vTPMs are for :meth:`open_device`, not for :meth:`open`."""
        self._host = host if isinstance(host, HostPlatform) else HostPlatform.provision(host)
        self._workdir = workdir.resolve()
        self._issuer: Issuer = issuer
        self._channel: Channel = channel
        self._deep_quote = deep_quote
        self._fresh_report = fresh_report
        self._relayed = relayed
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

    def __exit__(self, *_: object) -> None:
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
        trust = service_trust(processor, relayed=self._relayed)
        service = processor.launch(service_components(trust))
        pod = processor.launch(pod_components())
        agent = self._listener("agent.sock")
        for name, guest in (("service-csv.sock", service), ("pod-csv.sock", pod)):
            listener = self._listener(name)
            self._child(partial(serve_guest, guest, listener))
            listener.close()
        self._child(lambda: run_agent(self._host, tpm, self._issuer, agent, relayed=self._relayed))
        agent.close()
        self._agent = connect(self._workdir / "agent.sock")
        self._stack.append(self._agent.close)
        self._hsk_cek = processor.hsk_cek
        self._device = GuestDevice(self._workdir / "pod-csv.sock")
        self._stack.append(self._device.close)
        self._start_service(trust)
        self._service = ServiceClient(
            self._workdir / "service.sock", ChannelIdentity.create("pod"), processor.hrk,
            service.measurement, self._channel,
        )  # fmt: skip
        self._await_service()

    def _start_service(self, trust: bytes) -> None:
        listener = self._listener("service.sock")
        state = self._workdir / "state"
        state.mkdir(mode=0o700, exist_ok=True)
        inner = ("service-csv.sock", "agent.sock")
        streams = [listener, *(connect(self._workdir / name) for name in inner)]
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

    def _await_service(self) -> None:
        try:
            stream, _, _ = self._service.hello()
        except (FrameworkError, OSError) as error:
            raise FrameworkError(
                f"the vTPM service does not answer ({error}): {self._container.log_tail()}"
            ) from error
        stream.close()

    def open(self, instance: str, ak: AkKind) -> FrameworkPod:
        """Launch a vTPM and connect the pod, once each side has checked the other's report."""
        if self._relayed:
            raise FrameworkError("this deployment's vTPMs are for guests: use open_device")
        launched, service = self._service.launch(instance, ak, self._report)
        decoded = time.monotonic_ns()
        stream = self._service.attach(instance, service)
        attached = time.monotonic_ns()
        pod = FrameworkPod(stream, launched, self.extras)
        if pod.ak.name != launched.claims.ak_name:
            pod.close()
            raise FrameworkError(f"instance {instance}: the vTPM holds another attestation key")
        launched.stages_ns["channel"] += attached - decoded
        launched.stages_ns["certificate"] += time.monotonic_ns() - attached
        return pod

    def open_device(self, instance: str, ak: AkKind, path: Path, measurement: bytes) -> DevicePod:
        """Launch a vTPM as QEMU's TPM device on the unix socket ``path``.

        ``measurement`` is the guest's launch digest (``tee.csv_launch.guest_launch_digest``). The
        vTPM is switched on when the machine starts; its attestation key is at ``AK_HANDLE``.
        """
        if not self._relayed:
            raise FrameworkError("this deployment's vTPMs are for pods: make it relayed")
        launched, service = self._service.launch(instance, ak, None)
        device = TpmDevice(path, lambda: self._service.attach(instance, service))
        guest = self._host.processor.guest(measurement)
        return DevicePod(device, launched, guest, self._hsk_cek)

    def _report(self, data: bytes) -> TeeEvidence:
        return TeeEvidence(tee="csv", report=self._device.report(data), certificates=self._hsk_cek)

    def extras(
        self,
        nonce: bytes,
        attest: bytes,
        logs: tuple[bytes, bytes],
        prefix: ImaPrefix | None = None,
    ) -> tuple[TeeEvidence | None, Quote | None]:
        """What the ablation arms add to each attestation: a fresh report, the host's own quote."""
        fresh = deep = None
        if self._fresh_report:
            digests = sha256(logs[0]).digest(), binding.ima_log_digest(logs[1], prefix)
            fresh = self._report(binding.fresh_report_data(nonce, attest, *digests))
        if self._deep_quote:
            qualifier = binding.deep_quote_qualifier(nonce, attest)
            made = wire.request(self._agent, {"op": "deep-quote", "qualifier": qualifier})
            deep = Quote(attest=made["attest"], signature=made["signature"])
        return fresh, deep

    def memory(self, instance: str) -> dict[str, int]:
        """Proportional and resident set size of an instance's process, in bytes."""
        return self._service.memory(instance)

    def policy_trust(self) -> TrustMaterial:
        """The roots and measurements that a policy for these pods must name.

        In a relayed deployment ``measurements`` are for the policy's ``relayed_measurements``, and
        the policy adds each guest's own to ``pod_measurements``.
        """
        authority = self._host.authority
        return TrustMaterial(
            authority_root=authority.root_der,
            crls=(authority.crl(),),
            tee_root=TeeRoot(
                name="software secure processor",
                tee="csv",
                kind="emulated",
                root=self._service.tee_root,
            ),
            measurements=(self._service.measurement,),
            pod_measurements=() if self._relayed else (launch_digest(pod_components()),),
        )


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
