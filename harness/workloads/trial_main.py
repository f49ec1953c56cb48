"""A trial's own process: ``python -m harness.workloads.trial_main JOB.json OUTCOME.msgpack``."""

import importlib
import sys
from pathlib import Path

import msgspec

from harness.model.errors import EnvironmentError_
from harness.model.record import TrialOutcome, TrialRequest
from harness.workloads.trial_entry import carry_out
from harness.workloads.turns import Turns

WORKLOADS = ("attack_matrix", "attestation", "tpm_commands", "vtpm_launch")


class TrialJob(msgspec.Struct, frozen=True):
    """What the process is told. ``host``: folder of the host platform, "" when no arm needs it.

    ``controller``: process id of the one that started the trial, which ends with it; 0 by hand.
    ``turn``: descriptor for taking turns with the other trials of the block, or -1.
    """

    request: TrialRequest
    host: str = ""
    controller: int = 0
    turn: int = -1


def run(job: TrialJob) -> TrialOutcome:
    """Run the workload that the request names."""
    from harness.framework.errors import FrameworkError

    kind = job.request.workload.kind
    if kind not in WORKLOADS:
        raise EnvironmentError_(f"the process backend has no workload {kind!r}")
    workload = importlib.import_module(f"harness.workloads.{kind}")
    try:
        host = Path(job.host) if job.host else None
        if job.turn >= 0:
            outcome = workload.run(job.request, host, Turns(job.turn))
        else:
            outcome = workload.run(job.request, host)
    except FrameworkError as error:
        return TrialOutcome("failed", reason=" ".join(str(error).split()))
    assert isinstance(outcome, TrialOutcome)
    return outcome


def main(job_path: str, outcome_path: str) -> int:
    """Run the job and write its outcome; the exit code says whether there is one."""
    return carry_out(job_path, outcome_path, TrialJob, run)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
