"""A guest's trial in its own process: ``python -m harness.backends.guest_trial JOB OUTCOME``.

The process leads a group with QEMU and whatever serves its TPM, which all end with it.
"""

import os
import sys
import zlib
from pathlib import Path

import msgspec

from harness.framework.errors import FrameworkError
from harness.framework.lifetime import end_group_with_parent
from harness.guest import initrd
from harness.guest.machine import Guest, GuestEnd, GuestResults, run_guest
from harness.model.errors import AttestbenchError
from harness.model.record import TrialOutcome, TrialRequest
from harness.workloads.guest_plan import GuestPlan, plan_guest
from harness.workloads.guest_samples import samples_of

MAX_NOTE = 4_000


class Artifacts(msgspec.Struct, frozen=True):
    """Files that guests boot from, by name; paths are absolute. ``host``: the host platform's."""

    kernels: dict[str, str]
    agent: str
    images: dict[str, str] = {}
    host: str = ""


class GuestJob(msgspec.Struct, frozen=True):
    """What the process is told; ``controller`` is the one that it ends with, 0 by hand."""

    request: TrialRequest
    artifacts: Artifacts
    controller: int = 0


def run(job: GuestJob) -> TrialOutcome:
    """Boot the guest that the request describes, and judge what it says."""
    plan = plan_guest(job.request)
    if plan.tpm == "none":
        guest = _direct_guest(job, plan)
        return outcome_of(job.request, plan, run_guest(guest, job.request.workload.timeout_s))
    from harness.backends import guest_tpm

    return guest_tpm.run(job.request, job.artifacts, plan)


def _direct_guest(job: GuestJob, plan: GuestPlan) -> Guest:
    """A guest whose kernel is loaded directly, with its job in the initial file system."""
    workdir = Path(job.request.workdir)
    files = {"job": plan.job.encode()}
    if plan.policy:
        files["policy"] = plan.policy
    initial = workdir / "initrd"
    initial.write_bytes(initrd.archive(Path(job.artifacts.agent).read_bytes(), files))
    return Guest(
        console=workdir / "console",
        results=workdir / "results",
        memory_mib=plan.memory_mib,
        kernel=Path(job.artifacts.kernels[plan.kernel]),
        initrd=initial,
        command_line=plan.command_line,
        images=tuple(Path(job.artifacts.images[name]) for name in plan.images),
        salt=plan.salt,
    )


def outcome_of(
    request: TrialRequest,
    plan: GuestPlan,
    end: GuestEnd,
    evidence: dict[str, bytes] | None = None,
    notes: dict[str, str] | None = None,
) -> TrialOutcome:
    """The outcome of a guest; its console and what it sent go with it as named evidence."""
    kept = {**(evidence or {}), "console": end.console}
    told = {**_notes(plan, end.results), **(notes or {}), "evidence_names": ",".join(kept)}
    samples = samples_of(request, end.results, end.seconds) if end.status == "ok" else ()
    return TrialOutcome(end.status, samples, end.reason, tuple(kept.values()), told)


def _notes(plan: GuestPlan, results: GuestResults) -> dict[str, str]:
    own = {f"guest.{key}": value[:MAX_NOTE] for key, value in results.notes.items()}
    if plan.salt is not None:
        own["salt"] = str(plan.salt)
        # The same salt must give the same counts; this is what a second run compares.
        counted = [(one.part, one.number, one.value) for one in results.samples]
        own["counts_crc32"] = f"{zlib.crc32(repr(counted).encode()):08x}"
    return own


def main(job_path: str, outcome_path: str) -> int:
    """Run the job and write its outcome; the exit code says whether there is one."""
    job = msgspec.json.decode(Path(job_path).read_bytes(), type=GuestJob)
    # Only as leader of a group of its own; else others would end with the trial.
    if job.controller and os.getpgrp() == os.getpid():
        end_group_with_parent(job.controller)
    try:
        outcome = run(job)
    except AttestbenchError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except FrameworkError as error:
        outcome = TrialOutcome("failed", reason=" ".join(str(error).split()))
    Path(outcome_path).write_bytes(msgspec.msgpack.encode(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
