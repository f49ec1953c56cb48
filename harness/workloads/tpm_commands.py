"""Latency of TPM operations: pytest-benchmark runs in the trial's process, we import its JSON."""

import json
from pathlib import Path
from typing import Any

import harness
from harness.model.errors import EnvironmentError_
from harness.model.record import Sample, TrialOutcome, TrialRequest
from harness.workloads.tpm_operations import RANDOM_TIME

METRIC = "tpm_command_latency_ns"
MAX_TIME_S = 0.08


def run(request: TrialRequest, host: Path | None) -> TrialOutcome:
    """Every round of every operation; ``iterations`` of the workload is the least of them.

    Where pytest-benchmark calls an operation several times per round, the sample is the mean of
    these calls.
    """
    import pytest

    suite = Path(harness.__file__).resolve().parents[1] / "benchmarks"
    if not suite.is_dir():
        raise EnvironmentError_(f"{suite} is missing; run attestbench from its source tree")
    workdir = Path(request.workdir)
    result = workdir / "benchmark.json"
    arguments = [
        str(suite),
        "-q",
        "--benchmark-only",
        f"--benchmark-json={result}",
        f"--benchmark-max-time={MAX_TIME_S}",
        f"--benchmark-min-rounds={request.workload.iterations}",
        f"--arm={request.arm.kind}",
        f"--arm-workdir={workdir}",
    ]
    if host is not None:
        arguments.append(f"--host={host}")
    code = pytest.main(arguments)
    if code != pytest.ExitCode.OK:
        return TrialOutcome("failed", reason=f"pytest-benchmark ended with {int(code)}")
    return imported(json.loads(result.read_text()))


def imported(document: dict[str, Any]) -> TrialOutcome:
    """Samples and round trips from pytest-benchmark's JSON, whose raw data are in seconds.

    Operations whose time is random get no round trips, so that no cost model leans on them.
    """
    samples: list[Sample] = []
    round_trips: dict[str, int] = {}
    for entry in document["benchmarks"]:
        part = entry["extra_info"]["part"]
        if part not in RANDOM_TIME:
            round_trips[part] = entry["extra_info"]["round_trips"]
        samples += [
            Sample(METRIC, part, "measured", index, seconds * 1e9, "ns", "monotonic")
            for index, seconds in enumerate(entry["stats"]["data"])
        ]
    notes = {"round_trips": json.dumps(round_trips, sort_keys=True)}
    return TrialOutcome("ok", tuple(samples), notes=notes)
