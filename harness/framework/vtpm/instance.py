"""One vTPM: a process that ends the pod's channel and runs the TPM itself.

The service forks it from a warm parent, so that its memory is mostly shared and the pod's
commands cross one process boundary, as they do to a plain swtpm.
"""

import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any, Literal

from tpm2_pytss import ESAPI, TPM2_SU

from harness.framework import wire
from harness.framework.errors import FrameworkError
from harness.framework.tpm import keys
from harness.framework.tpm.libtpms import LibTpms
from harness.framework.tpm.tcti import LocalTcti
from harness.framework.vtpm._native import lib
from harness.framework.vtpm.channel import ChannelIdentity
from harness.framework.vtpm.state import EncryptedState

Channel = Literal["tls", "none"]
_HANDSHAKE_TIMEOUT_S = 10


class Instance:
    """The child's side: answers the service on ``control`` and pods on handed-over streams."""

    def __init__(
        self, control: socket.socket, identity: ChannelIdentity, pod: bytes, channel: Channel
    ) -> None:
        self._control = control
        self._identity = identity
        self._pod = pod
        self._channel = channel
        self._tpm: LibTpms | None = None
        self._device = False

    def run(self) -> None:
        """Serve until the service closes ``control``."""
        while True:
            message, descriptors = _receive_with_descriptor(self._control)
            if message is None:
                return
            try:
                answer = self._answer(message, descriptors)
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            if answer is not None:
                wire.send(self._control, answer)

    def _answer(self, message: dict[str, Any], descriptors: list[int]) -> dict[str, Any] | None:
        match message["op"]:
            case "manufacture":
                return self._manufacture(message)
            case "activate":
                return self._activate(message)
            case "memory":
                return memory_of_this_process()
            case "attach":
                stream = socket.socket(fileno=descriptors[0])
                stream.setblocking(True)
                threading.Thread(target=self._serve, args=(stream,), daemon=True).start()
                return None
            case other:
                raise FrameworkError(f"unknown request {other!r}")

    def _manufacture(self, message: dict[str, Any]) -> dict[str, Any]:
        """Start the TPM and make its endorsement and attestation keys; says how long each took."""
        at = [time.monotonic_ns()]
        self._device = message["device"]
        state = EncryptedState(Path(message["directory"]), message["instance"], message["key"])
        self._tpm = LibTpms(state)
        ectx = ESAPI(LocalTcti(self._tpm))
        ectx.startup(TPM2_SU.CLEAR)
        if self._device:
            keys.allocate_sha256_bank(ectx)
        at.append(time.monotonic_ns())
        ek = keys.create_endorsement_key(ectx)
        at.append(time.monotonic_ns())
        storage = keys.create_storage_key(ectx)
        ak = keys.create_signing_key(ectx, storage.handle, message["ak"], keys.AK_HANDLE)
        at.append(time.monotonic_ns())
        ectx.close()
        stages = {
            name: end - start
            for name, start, end in zip(
                ("manufacture", "endorsement", "ak"), at[:-1], at[1:], strict=True
            )
        }
        return {
            "ek_public": ek.public, "ek_name": ek.name,
            "ak_public": ak.public, "ak_name": ak.name, "stages_ns": stages,
        }  # fmt: skip

    def _activate(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._tpm is None:
            raise FrameworkError("the vTPM is not manufactured yet")
        ectx = ESAPI(LocalTcti(self._tpm))
        try:
            secret = keys.activate_credential(
                ectx,
                ectx.tr_from_tpmpublic(keys.EK_HANDLE),
                ectx.tr_from_tpmpublic(keys.AK_HANDLE),
                message["credential"],
                message["encrypted"],
            )
            if self._device:
                # The device switches the TPM off and on; nothing here failed to end in order.
                ectx.shutdown(TPM2_SU.CLEAR)
        finally:
            ectx.close()
        return {"secret": secret}

    def _serve(self, stream: socket.socket) -> None:
        """One pod connection, in compiled code without the GIL (serve.c) until the pod leaves.

        A peer that is unknown or sends no TPM command loses its connection, nothing else.
        """
        if self._tpm is None:
            stream.close()
            return
        with stream:
            if self._channel == "none":
                lib.vtpm_serve_plain(stream.fileno(), self._device)
                return
            key, certificate = self._identity.private_der(), self._identity.certificate
            lib.vtpm_serve_tls(
                stream.fileno(), key, len(key), certificate, len(certificate),
                self._pod, len(self._pod), _HANDSHAKE_TIMEOUT_S, self._device,
            )  # fmt: skip


def spawn(
    identity: ChannelIdentity, pod: bytes, channel: Channel, inherited: list[socket.socket]
) -> tuple[int, socket.socket]:
    """Fork an instance; gives its process id and the service's control stream."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ours.close()
        for stream in inherited:
            stream.close()
        Instance(theirs, identity, pod, channel).run()
        status = 0
    finally:
        os._exit(status)


def hand_over(control: socket.socket, stream: socket.socket) -> None:
    """Give a pod's connection to an instance."""
    socket.send_fds(control, [_ATTACH], [stream.fileno()])


# The whole "attach" frame, so that the descriptor travels with its first byte.
_ATTACH = b"\0\0\0\x0b\xa1bopfattach"


def _receive_with_descriptor(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    head, descriptors, _, _ = socket.recv_fds(control, 4, 1)
    if len(head) < 4:
        return None, []
    size = int.from_bytes(head, "big")
    if size > wire.MAX_FRAME_BYTES:
        return None, []
    return wire.decode(wire.exactly(control, size)), list(descriptors)


def memory_of_this_process() -> dict[str, Any]:
    """Proportional and resident set size in bytes, from the kernel's own account."""
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) * 1024
    return {"pss": fields["Pss"], "rss": fields["Rss"]}
