"""A running deployment with an honest pod, and the means to change what it sends."""

import secrets
import time
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import msgspec

from harness.framework.attester import QUOTED_PCRS, assemble
from harness.framework.deployment import Deployment, FrameworkPod, HostPlatform, TrustMaterial
from harness.framework.evidence import binding
from harness.framework.evidence.bundle import Evidence, Quote, TeeEvidence, decode_evidence
from harness.framework.evidence.bundle import encode_evidence as encode
from harness.framework.tee.csv_processor import POLICY_CSV2, SoftwareProcessor
from harness.framework.tpm import keys
from harness.framework.verify import Challenge, Policy, Previous, verify
from harness.workloads.attestation import extend_logs, reference_values
from harness.workloads.by_hand import policy_for
from harness.workloads.logs import BootLog, ImaLog, boot_event_log, ima_log
from harness.workloads.security.registry import Attempt, Mounted, Presented

_IMA_ENTRIES = 40
_LIFETIME_S = 600.0
Logs = tuple[BootLog, ImaLog]


class World:
    """One deployment for all attacks of a trial; use as a context manager.

    ``nonce`` and ``now_s`` are the same for all evidence, so that what is recorded for one attack
    can be changed for another. Attacks that change a vTPM get one of their own (`pod_with`).
    """

    def __init__(self, host: Path, workdir: Path, seed: int) -> None:
        self.platform = HostPlatform(host)
        self.workdir = workdir
        self.logs: Logs = (boot_event_log(seed), ima_log(_IMA_ENTRIES, seed))
        # The same list, one measurement later.
        self.grown = ima_log(_IMA_ENTRIES + 1, seed)
        self.nonce = secrets.token_bytes(32)
        self.now_s = time.time()
        self._pods = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.deployment = self.add(Deployment(self.platform, self.workdir / "d"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, part: Any) -> Any:
        """Enter ``part``, which then ends with this world."""
        return self._stack.enter_context(part)

    def folder(self, name: str) -> Path:
        """A new folder of that name."""
        path = self.workdir / name
        path.mkdir(mode=0o700)
        return path

    @property
    def processor(self) -> SoftwareProcessor:
        """The host's secure processor, which reports whatever guest it is told to have launched."""
        return self.platform.processor

    @cached_property
    def trust(self) -> TrustMaterial:
        """Roots and measurements of the deployment."""
        trust: TrustMaterial = self.deployment.policy_trust()
        return trust

    def policy(self, **changes: Any) -> Policy:
        """What accepts the honest pod, with ``changes``."""
        return msgspec.structs.replace(policy_for(self.trust, self.logs), **changes)

    def policy_of(self, logs: Logs, **changes: Any) -> Policy:
        """What accepts a pod with other logs."""
        measured = reference_values(*logs)
        return self.policy(boot=measured.boot, ima=measured.ima, **changes)

    def challenge(self, **changes: Any) -> Challenge:
        """The challenge that all evidence answers, with ``changes``."""
        base = Challenge(self.nonce, self.now_s - 1, self.now_s + _LIFETIME_S)
        return msgspec.structs.replace(base, **changes)

    def presented(
        self,
        evidence: Evidence | bytes,
        policy: Policy | None = None,
        challenge: Challenge | None = None,
        now_s: float | None = None,
    ) -> Presented:
        """``evidence`` as the verifier gets it; by default at once, under the honest policy."""
        sent = evidence if isinstance(evidence, bytes) else encode(evidence)
        return Presented(
            sent,
            policy or self.policy(),
            challenge or self.challenge(),
            self.now_s if now_s is None else now_s,
        )

    def pod_with(self, logs: Logs | None = None) -> FrameworkPod:
        """A pod with a vTPM of its own that was extended with ``logs`` (default: the honest)."""
        self._pods += 1
        pod: FrameworkPod = self.add(self.deployment.open(f"pod-{self._pods}", "ecc256"))
        extend_logs(pod.tcti, *(self.logs if logs is None else logs))
        return pod

    @cached_property
    def pod(self) -> FrameworkPod:
        """The honest pod. Leave its PCRs alone."""
        return self.pod_with()

    def attested(self, pod: FrameworkPod, nonce: bytes | None = None, **changes: Any) -> Evidence:
        """What ``pod`` sends with the honest logs, with ``changes``."""
        boot, ima = self.logs
        sent = decode_evidence(pod.attest(nonce or self.nonce, boot.log, ima.binary))
        return msgspec.structs.replace(sent, **changes)

    @cached_property
    def evidence(self) -> Evidence:
        """What the honest pod sends."""
        return self.attested(self.pod)

    def edited(self, **changes: Any) -> Evidence:
        """The honest pod's evidence with fields changed afterwards."""
        return msgspec.structs.replace(self.evidence, **changes)

    def quoted(
        self, pod: FrameworkPod, logs: tuple[bytes, bytes], pcrs: tuple[int, ...] = QUOTED_PCRS
    ) -> Evidence:
        """Evidence of ``pod`` over other PCRs or with other logs (boot log, IMA list)."""
        attest, signature = keys.quote(
            pod.ectx, pod.ak.handle, binding.quote_qualifier(self.nonce), pcrs
        )
        values = keys.read_pcrs(pod.ectx, pcrs)
        proofs = {
            name: getattr(self.attested(pod), name)
            for name in ("ak_certificate", "issuer_chain", "launch", "launch_report")
        }
        quote = Quote(attest, signature)
        return decode_evidence(assemble(self.nonce, pod.ak.public, quote, values, logs, proofs))

    def against_clean(self, attack: Attempt) -> Mounted:
        """The attack beside the honest pod's evidence under the honest policy."""
        return Mounted(attack, self.presented(self.evidence))

    def edit(self, **changes: Any) -> Mounted:
        """Edited evidence beside the same evidence as it was sent."""
        return self.against_clean(self.presented(self.edited(**changes)))

    def accepted_state(self, presented: Presented) -> Previous:
        """What the verifier keeps of evidence that it accepts, but for the time of its challenge.

        This world's time stands still, so that any TPM's clock would seem too fast. Raises
        ValueError when it doesn't accept it.
        """
        result = verify(*presented)
        if result.state is None:
            raise ValueError(f"not accepted: {result.failures}")
        return msgspec.structs.replace(result.state, issued_s=0.0)

    def report(
        self,
        data: bytes,
        *,
        measurement: bytes | None = None,
        policy: int = POLICY_CSV2,
        processor: SoftwareProcessor | None = None,
    ) -> TeeEvidence:
        """A report of the processor over ``data``, by default of the vTPM service."""
        chip = processor or self.processor
        guest = chip.guest(measurement or self.trust.measurements[0], policy)
        page = guest.report(data, secrets.token_bytes(16))
        return TeeEvidence("csv", page, chip.hsk_cek)
