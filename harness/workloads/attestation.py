"""One attestation after the other, end to end, by phase.

Boot and IMA log are generated, but truly extended into the pod's TPM, the same in every arm.
"""

import gc
import hashlib
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from harness.framework.tpm.keys import AkKind
from harness.framework.tpm.tcti import StreamTcti
from harness.model.record import Sample, TrialOutcome, TrialRequest
from harness.model.scenario import SamplePhase
from harness.workloads.arms import Measured, Pod, start_arm
from harness.workloads.factors import ak_of
from harness.workloads.logs import BootLog, ImaLog, boot_event_log, ima_log
from harness.workloads.turns import ITERATIONS_PER_TURN, Turns
from harness.workloads.verifier_process import StageClock, Verdict, VerifierClient

METRIC = "attestation_latency_ns"
_VERIFIER_PHASES = ("chain", "quote_check", "replay", "policy")
_DEFAULT_IMA_ENTRIES = 500
_IMA_PCR = 10


class Attestation(NamedTuple):
    """One attestation; ``phases_ns`` has every phase and ``total``."""

    phases_ns: dict[str, int]
    verdict: Verdict
    evidence: bytes


def run(request: TrialRequest, host: Path | None, turns: Turns | None = None) -> TrialOutcome:
    """The trial's samples; ``rejected`` with failure ids when one evidence does not verify."""
    factors = request.cell.factors
    boot = boot_event_log(request.seed)
    ima = ima_log(int(factors.get("ima_entries", _DEFAULT_IMA_ENTRIES)), request.seed)
    ak: AkKind = ak_of(factors)
    with start_arm(request.arm.kind, host, Path(request.workdir)) as arm:
        pod = arm.open("pod-0", ak)
        extend_logs(pod.tcti, boot, ima)
        policy = arm.policy(reference_values(boot, ima))
        with VerifierClient(policy) as verifier:
            return _measure(request, pod, verifier, (boot.log, ima.binary), turns or Turns(-1))


def reference_values(boot: BootLog, ima: ImaLog) -> Measured:
    """What a verifier accepts: exactly what was measured."""
    events: dict[int, list[bytes]] = defaultdict(list)
    for pcr, digest in boot.extends:
        events[pcr].append(digest)
    return Measured({pcr: tuple(digests) for pcr, digests in events.items()}, ima.allowed)


def extend_logs(tcti: StreamTcti, boot: BootLog, ima: ImaLog) -> None:
    """Extend both logs by TPM2_PCR_Extend, written directly: the client would cost seconds."""
    extends = [*boot.extends, *((_IMA_PCR, digest) for digest in ima.template_hashes_sha256)]
    for pcr, digest in extends:
        tcti.do_transmit(_pcr_extend(pcr, digest))
        code = tcti.do_receive(-1)[6:10]
        if code != bytes(4):
            raise RuntimeError(f"TPM2_PCR_Extend of PCR {pcr} failed with {code.hex()}")


def _pcr_extend(pcr: int, digest: bytes) -> bytes:
    """TPM2_PCR_Extend with an empty password (TPM 2.0 part 3, 22.2), SHA-256 bank."""
    password = bytes.fromhex("00000009 40000009 0000 00 0000")
    body = pcr.to_bytes(4, "big") + password + bytes.fromhex("00000001 000b") + digest
    return bytes.fromhex("8002") + (10 + len(body)).to_bytes(4, "big") + b"\0\0\1\x82" + body


def _measure(
    request: TrialRequest,
    pod: Pod,
    verifier: VerifierClient,
    logs: tuple[bytes, bytes],
    turns: Turns,
) -> TrialOutcome:
    samples: list[Sample] = []
    before = pod.tcti.round_trips
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for index, phase in enumerate(_phases(request)):
            if index % ITERATIONS_PER_TURN == 0:
                turns.next()
            last = attest_once(pod, verifier, logs)
            if not last.verdict.accepted:
                failures = ",".join(sorted(set(last.verdict.failures)))
                return TrialOutcome("rejected", reason=failures, evidence=(last.evidence,))
            samples += [
                Sample(METRIC, part, phase, index, float(value), "ns", "monotonic")
                for part, value in last.phases_ns.items()
            ]
    finally:
        turns.close()
        gc.enable()
    size = len(last.evidence)
    samples.append(Sample("evidence_size_bytes", "total", "measured", index, float(size), "B", ""))
    notes = {
        "tpm_round_trips_per_attestation": f"{(pod.tcti.round_trips - before) / (index + 1):g}",
        "trust_kind": last.verdict.trust_kind,
        "logs_sha256": hashlib.sha256(b"".join(logs)).hexdigest(),
    }
    return TrialOutcome("ok", tuple(samples), evidence=(last.evidence,), notes=notes)


def _phases(request: TrialRequest) -> list[SamplePhase]:
    warmup: list[SamplePhase] = ["warmup"] * request.workload.warmup
    measured: list[SamplePhase] = ["measured"] * request.workload.iterations
    return ["first", *warmup, *measured]


def attest_once(pod: Pod, verifier: VerifierClient, logs: tuple[bytes, bytes]) -> Attestation:
    """From the challenge to the verdict; ``logs`` are the boot log and the IMA log."""
    clock = StageClock()
    begin = time.perf_counter_ns()
    nonce = verifier.challenge()
    challenged = time.perf_counter_ns()
    evidence = pod.attest(nonce, *logs, observer=clock)
    sent = time.perf_counter_ns()
    verdict = verifier.judge(evidence)
    end = time.perf_counter_ns()
    stages = clock.durations()
    # Reading the envelope is the other half of writing it.
    stages["serialise"] += verdict.stages_ns.get("decode", 0)
    phases = {
        "challenge": challenged - begin,
        **stages,
        "transport": end - sent - verdict.verifier_ns,
        **{name: verdict.stages_ns.get(name, 0) for name in _VERIFIER_PHASES},
        "total": end - begin,
    }
    return Attestation(phases, verdict, evidence)
