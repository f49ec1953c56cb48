"""The pod's way to the vTPM service: checks its report, launches a vTPM, connects to it."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.framework import wire
from harness.framework.errors import FrameworkError
from harness.framework.evidence import binding, bundle
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.tpm.keys import AkKind, name_of
from harness.framework.tpm.tcti import bound_waiting
from harness.framework.vtpm import channel
from harness.framework.vtpm.channel import ChannelIdentity
from harness.framework.vtpm.instance import Channel
from harness.framework.vtpm.pod import Launched, decode_launch
from harness.framework.vtpm.service import SERVICE_NAME

_CONTROL_TIMEOUT_S = 20.0
_TIMEOUT_S = 60.0


def connect(path: Path) -> socket.socket:
    """A stream to one of the framework's own sockets."""
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(_TIMEOUT_S)
    stream.connect(str(path))
    return stream


@dataclass(frozen=True)
class ServiceClient:
    """Speaks to the service at ``path`` that has this measurement, under this TEE root."""

    path: Path
    identity: ChannelIdentity
    tee_root: bytes
    measurement: bytes
    channel: Channel

    def hello(self) -> tuple[socket.socket, bytes, bytes]:
        """A control stream, the service's channel certificate and its nonce for us.

        Raises ``FrameworkError`` unless the service's TEE report holds.
        """
        stream = connect(self.path)
        stream.settimeout(_CONTROL_TIMEOUT_S)
        nonce = os.urandom(32)
        try:
            hello = wire.request(stream, {"op": "hello", "nonce": nonce})
            report = bundle.decode(hello["report"], TeeEvidence, wire.MAX_FRAME_BYTES)
            channel.check_peer(
                hello["certificate"], report, nonce, self.tee_root, (self.measurement,)
            )
        except BaseException:
            stream.close()
            raise
        return stream, hello["certificate"], hello["nonce"]

    def launch(
        self, instance: str, ak: AkKind, report: Callable[[bytes], TeeEvidence] | None
    ) -> tuple[Launched, bytes]:
        """Launch a vTPM for our channel key; gives it and the service's certificate.

        ``report`` makes the pod's TEE report; None where the vTPM is relayed to a guest.
        """
        begin = time.monotonic_ns()
        control, service, nonce = self.hello()
        with control:
            message = {
                "op": "open", "instance": instance, "ak": ak,
                "certificate": self.identity.certificate,
            }  # fmt: skip
            if report is not None:
                made = report(binding.channel_report_data(self.identity.spki, nonce))
                message["report"] = bundle.encode(made)
            greeted = time.monotonic_ns()
            answer = wire.request(control, message)
        answered = time.monotonic_ns()
        launched = decode_launch(answer)
        if launched.claims.channel_key_sha256 != channel.key_digest(service):
            raise FrameworkError(
                f"instance {instance}: launched by another service than we talk to"
            )
        if name_of(launched.ak_public) != launched.claims.ak_name:
            raise FrameworkError(f"instance {instance}: launched with another attestation key")
        stages = launched.stages_ns
        stages["channel"] += greeted - begin
        stages["certificate"] = time.monotonic_ns() - answered
        return launched, service

    def attach(self, instance: str, service: bytes) -> socket.socket:
        """Our own stream to the vTPM, for TPM commands."""
        stream = connect(self.path)
        wire.send(stream, {"op": "attach", "instance": instance})
        if self.channel == "tls":
            stream = channel.connect_tls(stream, self.identity, service, SERVICE_NAME)
        bound_waiting(stream)
        return stream

    def memory(self, instance: str) -> dict[str, int]:
        """Proportional and resident set size of an instance's process, in bytes."""
        control, _, _ = self.hello()
        with control:
            return wire.request(control, {"op": "memory", "instance": instance})
