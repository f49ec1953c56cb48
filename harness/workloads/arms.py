"""What an arm starts. All arms share the client code, so that ratios compare TPMs only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from harness.framework.tpm.keys import AkKind
from harness.framework.tpm.tcti import StreamTcti
from harness.framework.verify import Policy
from harness.model.errors import EnvironmentError_, InputError
from harness.workloads.software_tpm import SoftwareTpmPod

BASELINE_KIND = "software-tpm"


class Pod(Protocol):
    """One TPM as its pod sees it."""

    ectx: Any
    tcti: StreamTcti
    ak: Any
    launch_stages_ns: dict[str, int]

    def attest(
        self,
        nonce: bytes,
        boot_log: bytes,
        ima_log: bytes,
        *,
        observer: Callable[[str], None] | None = None,
    ) -> bytes:
        """Evidence; ``observer`` is told when report, quote, logs, serialise and done begin."""

    def close(self) -> None:
        """Give the TPM back."""


class ArmSession(Protocol):
    """An arm that has been started, as a context manager."""

    isolation: str

    def open(self, instance: str, ak: AkKind) -> Pod:
        """Launch a TPM of its own for a pod named ``instance``."""

    def memory(self, instance: str) -> dict[str, int]:
        """Bytes of ``pss`` and ``rss`` that the instance takes."""

    def policy(self, measured: "Measured") -> Policy:
        """What a verifier of this arm's pods accepts, given what their logs may hold."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Measured(NamedTuple):
    """Reference values: boot event digests by PCR, file digests by path."""

    boot: dict[int, tuple[bytes, ...]]
    ima: dict[str, tuple[bytes, ...]]


class SoftwareTpmArm:
    """The baseline: a plain swtpm per pod on the host; its keys are known by allow-list."""

    isolation = "none: a process of the same user"

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._pods: dict[str, SoftwareTpmPod] = {}

    def open(self, instance: str, ak: AkKind) -> Pod:
        """Start a swtpm with fresh keys."""
        pod = SoftwareTpmPod(self._workdir / instance, ak)
        self._pods[instance] = pod
        return pod

    def memory(self, instance: str) -> dict[str, int]:
        """Memory of the instance's swtpm process."""
        return process_memory(self._pods[instance].pid)

    def policy(self, measured: Measured) -> Policy:
        """Accept exactly the keys of the pods opened so far."""
        names = tuple(pod.ak.name for pod in self._pods.values())
        return Policy(
            scheme="allow-list", accepted_ak_names=names, boot=measured.boot, ima=measured.ima
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self._pods.values():
            pod.close()


class FrameworkArm:
    """The framework, whole or with one part changed, over the campaign's host platform."""

    def __init__(self, host: Path, workdir: Path, changes: dict[str, Any]) -> None:
        from harness.framework.deployment import Deployment

        self._changes = changes
        self._deployment = Deployment(host, workdir, **changes)
        self._pods: list[Pod] = []
        self.isolation = ""

    def open(self, instance: str, ak: AkKind) -> Pod:
        """Launch a vTPM in the service."""
        pod: Pod = self._deployment.open(instance, ak)
        self._pods.append(pod)
        return pod

    def memory(self, instance: str) -> dict[str, int]:
        """Memory of the instance's processes."""
        return dict(self._deployment.memory(instance))

    def policy(self, measured: Measured) -> Policy:
        """Trust the authority, and the emulated processor's root by its name."""
        trust = self._deployment.policy_trust()
        return Policy(
            scheme="chain",
            authority_roots=(trust.authority_root,),
            crls=tuple(trust.crls),
            tee_roots=(trust.tee_root,),
            accept_emulated=trust.tee_root.kind == "emulated",
            accepted_measurements=tuple(trust.measurements),
            pod_measurements=tuple(trust.pod_measurements),
            boot=measured.boot,
            ima=measured.ima,
            require_fresh_report=self._changes.get("fresh_report", False),
            require_deep_quote=self._changes.get("deep_quote", False),
        )

    def __enter__(self) -> Self:
        self._deployment.__enter__()
        self.isolation = self._deployment.isolation
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self._pods:
            pod.close()
        self._deployment.__exit__(None, None, None)


_FRAMEWORK_CHANGES: dict[str, dict[str, Any]] = {
    "framework": {},
    "issuing-key": {"issuer": "issuing-key"},
    "no-channel": {"channel": "none"},
    "deep-quote": {"deep_quote": True},
    "report-per-attestation": {"fresh_report": True},
}
ARM_KINDS = (BASELINE_KIND, *_FRAMEWORK_CHANGES)


def start_arm(kind: str, host: Path | None, workdir: Path) -> ArmSession:
    """An arm of ``kind``, working below ``workdir``; enter it to start it.

    ``host`` is the folder of the provisioned host platform; the baseline needs none.
    """
    if kind == BASELINE_KIND:
        return SoftwareTpmArm(workdir)
    if kind not in _FRAMEWORK_CHANGES:
        raise InputError(f"unknown arm kind {kind!r}; known: {', '.join(ARM_KINDS)}")
    if host is None:
        raise EnvironmentError_(f"arm {kind}: no host platform was provisioned")
    return FrameworkArm(host, workdir, _FRAMEWORK_CHANGES[kind])


def process_memory(pid: int) -> dict[str, int]:
    """Proportional and resident set size of one process in bytes (/proc/PID/smaps_rollup)."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in {"Pss", "Rss"}:
            sizes[name.lower()] = int(rest.split()[0]) * 1024
    return sizes
