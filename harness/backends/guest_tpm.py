"""TPMs for guests, made before they boot, and the answers to what a guest asks while it attests."""

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.tee.csv_launch import guest_launch_digest
from harness.framework.tpm.keys import name_of
from harness.framework.tpm.swtpm_device import SwtpmDevice
from harness.framework.verify import Policy
from harness.framework.vtpm.pod import DevicePod
from harness.guest.machine import Query
from harness.guest.machine.port import more_message, nonce_message, report_message
from harness.model.errors import EnvironmentError_
from harness.workloads.guest_plan import GuestPlan

_INSTANCE = "guest-0"
_NONCE_BYTES = 32


class GuestTpm(NamedTuple):
    """A TPM that waits for its guest; ``policy`` trusts its key, and knows no measurements yet."""

    pod: SwtpmDevice | DevicePod
    policy: Policy


class Round(NamedTuple):
    """One challenge to the guest. ``report``: the TEE report that the guest asked for, if it did.

    Times are seconds since the epoch.
    """

    nonce: bytes
    issued_s: float
    answered_s: float = 0.0
    report: TeeEvidence | None = None


@contextlib.contextmanager
def software_tpm(plan: GuestPlan, workdir: Path) -> Iterator[GuestTpm]:
    """A plain swtpm, whose key the verifier knows by name."""
    with SwtpmDevice(workdir / "tpm", plan.ak) as device:
        policy = Policy(scheme="allow-list", accepted_ak_names=(name_of(device.ak_public),))
        yield GuestTpm(device, policy)


@contextlib.contextmanager
def framework_tpm(plan: GuestPlan, workdir: Path, host: str, firmware: str) -> Iterator[GuestTpm]:
    """The framework's vTPM, relayed; the guest that boots ``firmware`` vouches for its logs."""
    from harness.framework.deployment import Deployment

    if not host:
        raise EnvironmentError_("arm framework: no host platform was provisioned")
    measurement = guest_launch_digest(Path(firmware)) if firmware else guest_launch_digest(b"")
    socket_path = workdir / "tpm.sock"
    with Deployment(Path(host), workdir / "framework", relayed=True) as deployment:
        trust = deployment.policy_trust()
        with deployment.open_device(_INSTANCE, plan.ak, socket_path, measurement) as pod:
            policy = Policy(
                scheme="chain",
                authority_roots=(trust.authority_root,),
                crls=tuple(trust.crls),
                tee_roots=(trust.tee_root,),
                accept_emulated=trust.tee_root.kind == "emulated",
                relayed_measurements=tuple(trust.measurements),
                pod_measurements=(measurement,),
            )
            yield GuestTpm(pod, policy)


class Dialogue:
    """Answers a guest's questions, and remembers what was asked and said."""

    def __init__(self, tpm: GuestTpm) -> None:
        self._tpm = tpm
        self.rounds: list[Round] = []

    def answer(self, query: Query) -> bytes:
        """The answer to one question: a fresh nonce, a TEE report, or that it is enough."""
        if query.kind == "nonce":
            self.answered()
            nonce = secrets.token_bytes(_NONCE_BYTES)
            self.rounds.append(Round(nonce, time.time()))
            return nonce_message(nonce)
        if query.kind == "report" and self.rounds and isinstance(self._tpm.pod, DevicePod):
            report = self._tpm.pod.report(query.data)
            self.rounds[-1] = self.rounds[-1]._replace(report=report)
            return report_message(report.report)
        return more_message(False)

    def answered(self) -> None:
        """All that belongs to the last challenge has come."""
        if self.rounds:
            self.rounds[-1] = self.rounds[-1]._replace(answered_s=time.time())
