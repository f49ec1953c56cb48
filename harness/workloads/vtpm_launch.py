"""Launching ``instances`` TPMs one after the other, all of them alive at the end."""

import time
from pathlib import Path

from harness.model.record import Sample, TrialOutcome, TrialRequest
from harness.workloads.arms import start_arm
from harness.workloads.factors import ak_of

METRIC = "vtpm_launch_latency_ns"
MEMORY = "vtpm_memory_bytes"


def run(request: TrialRequest, host: Path | None) -> TrialOutcome:
    """Latency of each launch, total and by stage; then memory of each instance."""
    count = int(request.cell.factors.get("instances", 1))
    ak = ak_of(request.cell.factors)
    samples: list[Sample] = []
    with start_arm(request.arm.kind, host, Path(request.workdir)) as arm:
        for index in range(count):
            begin = time.perf_counter_ns()
            pod = arm.open(f"pod-{index}", ak)
            total = time.perf_counter_ns() - begin
            stages = {**pod.launch_stages_ns, "total": total}
            samples += [
                Sample(METRIC, part, "measured", index, float(value), "ns", "monotonic")
                for part, value in stages.items()
            ]
        for index in range(count):
            samples += [
                Sample(MEMORY, part, "measured", index, float(size), "B", "")
                for part, size in arm.memory(f"pod-{index}").items()
            ]
        return TrialOutcome("ok", tuple(samples), notes={"isolation": arm.isolation})
