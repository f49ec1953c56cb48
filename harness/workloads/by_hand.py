"""Pods that one drives by hand: what runs inside them, served on a local socket."""

import os
import socket
import threading
from pathlib import Path
from typing import Any

from harness.framework import wire
from harness.framework.deployment import FrameworkPod, TrustMaterial
from harness.framework.errors import FrameworkError
from harness.framework.evidence import ima_prefix
from harness.framework.evidence.bundle import ImaPrefix
from harness.framework.tpm.tcti import read_message
from harness.framework.verify import Policy
from harness.workloads.attestation import extend_logs, reference_values
from harness.workloads.logs import BootLog, ImaLog, boot_event_log, ima_log

# The fields of `policy_for` that follow from the deployment; all others are its owner's to set.
RENEWED = (
    "authority_roots",
    "crls",
    "tee_roots",
    "accepted_measurements",
    "pod_measurements",
    "boot",
    "ima",
)
_SEED = 1
_IMA_ENTRIES = 25


class PodHost:
    """Extends generated logs into each pod's vTPM, then answers local requests.

    A request is ``{"op": "attest", instance, nonce, prefix, key}``, where ``prefix`` is what a
    verifier knows of the IMA log (entries, PCR 10) or None, and ``key`` a confirmation key or None,
    or ``{"op": "tpm", instance}``, after which the stream carries TPM commands.
    """

    def __init__(self, path: Path, pods: dict[str, FrameworkPod]) -> None:
        self.logs: tuple[BootLog, ImaLog] = (boot_event_log(_SEED), ima_log(_IMA_ENTRIES, _SEED))
        self._pods = pods
        self._locks = {name: threading.Lock() for name in pods}
        for pod in pods.values():
            extend_logs(pod.tcti, *self.logs)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        os.chmod(path, 0o600)
        self._listener.listen()

    def run(self) -> None:
        """Serve until interrupted."""
        with self._listener:
            while True:
                stream, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream: socket.socket) -> None:
        with stream:
            try:
                message = wire.receive(stream)
                if message is not None:
                    self._answer(stream, message)
            except (FrameworkError, KeyError, TypeError) as error:
                text = str(error) if isinstance(error, FrameworkError) else f"bad request: {error}"
                wire.send(stream, {"error": text})

    def _answer(self, stream: socket.socket, message: dict[str, Any]) -> None:
        name = message["instance"]
        if name not in self._pods:
            raise FrameworkError(f"no pod {name!r}; served are {', '.join(self._pods)}")
        pod, lock = self._pods[name], self._locks[name]
        if message["op"] == "attest":
            known = message["prefix"] and ImaPrefix(*message["prefix"])
            ima_log, prefix = ima_prefix.cut(self.logs[1].binary, known or None)
            with lock:
                evidence = pod.attest(
                    message["nonce"], self.logs[0].log, ima_log, prefix=prefix,
                    confirmation_key=message["key"],
                )  # fmt: skip
            wire.send(stream, {"evidence": evidence})
            return
        while command := read_message(stream):
            with lock:
                pod.tcti.do_transmit(command)
                response = pod.tcti.do_receive(-1)
            stream.sendall(response)


def policy_for(trust: TrustMaterial, logs: tuple[BootLog, ImaLog]) -> Policy:
    """What accepts such a pod: this authority, this emulated processor, these logs."""
    measured = reference_values(*logs)
    return Policy(
        scheme="chain",
        authority_roots=(trust.authority_root,),
        crls=trust.crls,
        tee_roots=(trust.tee_root,),
        accept_emulated=True,
        accepted_measurements=trust.measurements,
        pod_measurements=trust.pod_measurements,
        boot=measured.boot,
        ima=measured.ima,
    )
