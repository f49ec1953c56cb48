"""The vTPM service: runs inside the confidential container, one instance process per pod.

It inherits its listener and its ways to the secure processor, the host's TPM agent and the key
broker as open descriptors; it needs no network and no file system beyond its own state.
"""

import argparse
import contextlib
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.framework import wire
from harness.framework.errors import FrameworkError
from harness.framework.evidence import binding, bundle
from harness.framework.evidence.bundle import LaunchClaims, TeeEvidence
from harness.framework.tee.csv_device import GuestDevice
from harness.framework.vtpm import channel, instance
from harness.framework.vtpm.channel import ChannelIdentity
from harness.framework.vtpm.trust import ServiceTrust

SERVICE_NAME = "vtpm-service"
LISTENER_FD, PROCESSOR_FD, AGENT_FD, TRUST_FD = 3, 4, 5, 6
MAX_INSTANCES = 256
_CONTROL_TIMEOUT_S = 30.0


@dataclass
class _Launched:
    pid: int
    control: socket.socket


class Service:
    """Answers pods on ``listener``; keeps at most ``MAX_INSTANCES`` instances."""

    def __init__(
        self,
        listener: socket.socket,
        processor: GuestDevice,
        agent: socket.socket,
        trust: ServiceTrust,
        state: Path,
        mode: instance.Channel,
    ) -> None:
        self._listener = listener
        self._processor = processor
        self._agent = agent
        self._state = state
        self._mode = mode
        self._identity = ChannelIdentity.create(SERVICE_NAME)
        self._instances: dict[str, _Launched] = {}
        self._selector = selectors.DefaultSelector()
        self._trust = trust
        self._key = self._released_key()

    def _released_key(self) -> bytes:
        """The state key, released to this measured service only and wrapped for its key."""
        nonce = wire.request(self._agent, {"op": "key-nonce"})["nonce"]
        report = self._report(binding.channel_report_data(self._identity.spki, nonce))
        wrapped = wire.request(
            self._agent,
            {
                "op": "key-release",
                "certificate": self._identity.certificate,
                "report": bundle.encode(report),
            },
        )
        return channel.unwrap(self._identity.key, wrapped["peer"], wrapped["sealed"])

    def _report(self, data: bytes) -> TeeEvidence:
        return TeeEvidence(
            tee="csv", report=self._processor.report(data), certificates=self._trust.certificates
        )

    def run(self) -> None:
        """Serve until the host's agent is gone."""
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._agent, selectors.EVENT_READ, None)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._agent:
                    # It speaks only when asked, so this is its end: no host, no vTPMs.
                    return
                if key.fileobj is self._listener:
                    stream, _address = self._listener.accept()
                    stream.settimeout(_CONTROL_TIMEOUT_S)
                    self._selector.register(stream, selectors.EVENT_READ, {})
                else:
                    self._serve(key.fileobj, key.data)  # type: ignore[arg-type]

    def _serve(self, stream: socket.socket, session: dict[str, Any]) -> None:
        """One request of one pod; a stream that attaches leaves this process at once."""
        try:
            message = wire.receive(stream)
            if message is not None and message.get("op") == "attach":
                self._attach(stream, message)
                message = None
            if message is not None:
                wire.send(stream, self._answer(message, session))
                return
        except FrameworkError as error:
            _refuse(stream, str(error))
        except (OSError, KeyError, TypeError, ValueError) as error:
            _refuse(stream, f"request refused: {type(error).__name__}: {error}")
        self._selector.unregister(stream)
        stream.close()

    def _answer(self, message: dict[str, Any], session: dict[str, Any]) -> dict[str, Any]:
        match message["op"]:
            case "hello":
                session["nonce"] = secrets.token_bytes(32)
                report = self._report(
                    binding.channel_report_data(self._identity.spki, message["nonce"])
                )
                return {
                    "certificate": self._identity.certificate,
                    "report": bundle.encode(report),
                    "nonce": session["nonce"],
                }
            case "open":
                return self._open(message, session)
            case "memory":
                return wire.request(self._launched(message["instance"]).control, {"op": "memory"})
            case other:
                raise FrameworkError(f"unknown request {other!r}")

    def _launched(self, name: str) -> _Launched:
        try:
            return self._instances[name]
        except KeyError:
            raise FrameworkError(f"no instance {name!r}") from None

    def _attach(self, stream: socket.socket, message: dict[str, Any]) -> None:
        instance.hand_over(self._launched(message["instance"]).control, stream)

    def _open(self, message: dict[str, Any], session: dict[str, Any]) -> dict[str, Any]:
        """Launch a vTPM for a pod whose TEE report binds its channel key and our nonce.

        A relayed guest has no such report yet: its device's key alone reaches the vTPM.
        """
        name = message["instance"]
        if not (isinstance(name, str) and 0 < len(name) <= 64 and name.replace("-", "").isalnum()):
            raise FrameworkError("instance: expected 1 to 64 letters, digits and hyphens")
        if name in self._instances:
            raise FrameworkError(f"instance {name!r} exists already")
        if len(self._instances) >= MAX_INSTANCES:
            raise FrameworkError(f"no room: {MAX_INSTANCES} instances run already")
        if message["ak"] not in ("rsa2048", "ecc256"):
            raise FrameworkError(f"ak: got {message['ak']!r}, expected rsa2048 or ecc256")
        begin = time.monotonic_ns()
        nonce = session.pop("nonce", None)
        if nonce is None:
            raise FrameworkError("open without hello: there is no nonce to bind")
        pod, trust = message["certificate"], self._trust
        if not trust.relayed:
            report = bundle.decode(message["report"], TeeEvidence, wire.MAX_FRAME_BYTES)
            channel.check_peer(pod, report, nonce, trust.tee_root, trust.pod_measurements)
        checked = time.monotonic_ns()
        inherited = [self._listener, self._agent, *(e.control for e in self._instances.values())]
        pid, control = instance.spawn(self._identity, pod, self._mode, inherited)
        try:
            answer = self._launch(name, message["ak"], control)
            answer["stages_ns"]["channel"] = checked - begin
        except BaseException:
            control.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._instances[name] = _Launched(pid, control)
        return answer

    def _launch(self, name: str, ak: str, control: socket.socket) -> dict[str, Any]:
        made = wire.request(
            control,
            {
                "op": "manufacture", "instance": name, "ak": ak, "key": self._key,
                "directory": str(self._state / name), "device": self._trust.relayed,
            },
        )  # fmt: skip
        at = [time.monotonic_ns()]
        begun = wire.request(
            self._agent,
            {
                "op": "begin", "instance": name, "ak_public": made["ak_public"],
                "ak_name": made["ak_name"], "ek_public": made["ek_public"],
            },
        )  # fmt: skip
        secret = wire.request(
            control,
            {"op": "activate", "credential": begun["credential"], "encrypted": begun["encrypted"]},
        )["secret"]
        at.append(time.monotonic_ns())
        claims = LaunchClaims(
            instance=name,
            ak_name=made["ak_name"],
            ek_name=made["ek_name"],
            channel_key_sha256=channel.key_digest(self._identity.certificate),
            host_ak_name=begun["host_ak_name"],
            nonce=begun["nonce"],
        )
        report = self._report(binding.launch_report_data(claims))
        at.append(time.monotonic_ns())
        issued = wire.request(
            self._agent,
            {
                "op": "issue", "instance": name, "secret": secret,
                "claims": bundle.encode(claims), "report": bundle.encode(report),
            },
        )  # fmt: skip
        at.append(time.monotonic_ns())
        stages = dict(made["stages_ns"])
        stages.update(
            (stage, end - start)
            for stage, start, end in zip(
                ("residency", "report", "issue"), at[:-1], at[1:], strict=True
            )
        )
        return {
            "ak_public": made["ak_public"], "ak_certificate": issued["certificate"],
            "issuer_chain": issued["chain"], "claims": bundle.encode(claims),
            "report": bundle.encode(report), "stages_ns": stages,
        }  # fmt: skip


def _refuse(stream: socket.socket, reason: str) -> None:
    with contextlib.suppress(OSError):
        wire.send(stream, {"error": reason})


def _inherited(descriptor: int) -> socket.socket:
    """A stream that another process opened, and perhaps left in non-blocking mode."""
    stream = socket.socket(fileno=descriptor)
    stream.setblocking(True)
    return stream


def _measured_trust() -> ServiceTrust:
    with os.fdopen(TRUST_FD, "rb") as file:
        return bundle.decode(file.read(wire.MAX_FRAME_BYTES), ServiceTrust, wire.MAX_FRAME_BYTES)


def main() -> int:
    """Entry point inside the container; descriptors 3 to 6 are inherited."""
    parser = argparse.ArgumentParser(prog="vtpm-service")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--channel", choices=("tls", "none"), default="tls")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        service = Service(
            _inherited(LISTENER_FD),
            GuestDevice.from_socket(_inherited(PROCESSOR_FD)),
            _inherited(AGENT_FD),
            _measured_trust(),
            options.state,
            options.channel,
        )
        service.run()
    except FrameworkError as error:
        sys.stderr.write(f"vtpm-service: {error}\n")
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
