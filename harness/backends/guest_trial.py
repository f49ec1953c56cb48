"""A guest's trial in its own process: ``python -m harness.backends.guest_trial JOB OUTCOME``.

The process leads a group with QEMU and whatever serves its TPM, which all end with it.
"""

import shutil
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.backends.guest_attacks import run_attacks
from harness.backends.guest_files import GuestJob, UefiFiles, uefi_name
from harness.framework.errors import FrameworkError
from harness.guest import initrd
from harness.guest.machine import Guest, GuestEnd, GuestResults, run_guest
from harness.guest.machine.command import Firmware
from harness.guest.machine.port import HostPort, job_message
from harness.model.record import TrialOutcome
from harness.workloads.guest_plan import plan_guest
from harness.workloads.guest_samples import samples_of
from harness.workloads.trial_entry import carry_out

if TYPE_CHECKING:  # brings the TSS libraries, which most guests do not need
    from harness.backends.guest_tpm import Dialogue, GuestTpm

_MAX_NOTE = 4_000


class GuestTrial:
    """One trial: the guest that its request describes, from its files to its outcome."""

    def __init__(self, job: GuestJob) -> None:
        self._request = job.request
        self._artifacts = job.artifacts
        self._workdir = Path(job.request.workdir)
        self._timeout_s = job.request.workload.timeout_s
        self._plan = plan_guest(job.request)

    def run(self) -> TrialOutcome:
        """Boot the guest, with its TPM if it has one, and judge what it says."""
        if self._plan.tpm == "none":
            return self._outcome(run_guest(self._direct_guest(None), self._timeout_s))
        from harness.backends import guest_tpm

        plan, workdir = self._plan, self._workdir
        uefi = self._uefi_files() if plan.uefi else None
        if plan.tpm == "software-tpm":
            tpm = guest_tpm.software_tpm(plan, workdir)
        else:
            firmware = uefi.code if uefi else ""
            tpm = guest_tpm.framework_tpm(plan, workdir, self._artifacts.host, firmware)
        with tpm as ready:
            if uefi is None:
                return self._outcome(run_guest(self._direct_guest(ready), self._timeout_s))
            dialogue = guest_tpm.Dialogue(ready)
            end = self._boot_through_uefi(uefi, ready, dialogue)
            return self._attested(uefi, ready, dialogue, end)

    def _uefi_files(self) -> UefiFiles:
        return self._artifacts.uefi[uefi_name(self._plan.kernel, self._plan.command_line)]

    def _images(self) -> tuple[Path, ...]:
        return tuple(Path(self._artifacts.images[name]) for name in self._plan.images)

    def _direct_guest(self, tpm: "GuestTpm | None") -> Guest:
        """A guest whose kernel is loaded directly, with its job in the initial file system."""
        files = {"job": self._plan.job.encode()}
        if self._plan.policy:
            files["policy"] = self._plan.policy
        initial = self._workdir / "initrd"
        initial.write_bytes(initrd.archive(Path(self._artifacts.agent).read_bytes(), files))
        return Guest(
            console=self._workdir / "console",
            results=self._workdir / "results",
            memory_mib=self._plan.memory_mib,
            kernel=Path(self._artifacts.kernels[self._plan.kernel]),
            initrd=initial,
            command_line=self._plan.command_line,
            images=self._images(),
            salt=self._plan.salt,
            accelerator="tcg" if self._plan.salt is not None else self._artifacts.accelerator,
            tpm_socket=tpm.pod.path if tpm else None,
            tpm_interface=self._plan.tpm_interface,
        )

    def _boot_through_uefi(
        self, files: UefiFiles, tpm: "GuestTpm", dialogue: "Dialogue"
    ) -> GuestEnd:
        """Boot the guest, give it its job over the control port, and answer until it is done."""
        variables = self._workdir / "firmware-variables"
        shutil.copyfile(files.variables, variables)
        with HostPort() as port:
            guest = Guest(
                console=self._workdir / "console",
                memory_mib=self._plan.memory_mib,
                firmware=Firmware(Path(files.code), variables),
                esp=Path(files.partition),
                images=self._images(),
                tpm_socket=tpm.pod.path,
                tpm_interface=self._plan.tpm_interface,
                port=port.guest_end,
                accelerator=self._artifacts.accelerator,
            )
            deadline = time.monotonic() + self._timeout_s
            port.send(job_message(self._plan.job.encode()), deadline)
            end = run_guest(guest, self._timeout_s, port, dialogue.answer)
        dialogue.answered()
        return end

    def _attested(
        self, files: UefiFiles, tpm: "GuestTpm", dialogue: "Dialogue", end: GuestEnd
    ) -> TrialOutcome:
        """The outcome, which takes that every round's evidence is accepted."""
        if end.status != "ok":
            return self._outcome(end)
        from harness.backends import guest_verification

        judged = guest_verification.judge_guest(
            self._request.arm.kind, files.references, tpm, dialogue.rounds, end.results
        )
        outcome = self._outcome(end, judged.evidence, judged.notes)
        if judged.failures:
            reason = ",".join(judged.failures)
            return msgspec.structs.replace(outcome, status="rejected", samples=(), reason=reason)
        return msgspec.structs.replace(outcome, samples=outcome.samples + judged.samples)

    def _outcome(
        self,
        end: GuestEnd,
        evidence: dict[str, bytes] | None = None,
        notes: dict[str, str] | None = None,
    ) -> TrialOutcome:
        """The outcome of a guest; its console and evidence go with it, each under a name."""
        kept = {**(evidence or {}), "console": end.console}
        told = {**self._notes(end.results), **(notes or {}), "evidence_names": ",".join(kept)}
        samples = samples_of(self._request, end.results, end.seconds) if end.status == "ok" else ()
        return TrialOutcome(end.status, samples, end.reason, tuple(kept.values()), told)

    def _notes(self, results: GuestResults) -> dict[str, str]:
        own = {f"guest.{key}": value[:_MAX_NOTE] for key, value in results.notes.items()}
        if self._plan.salt is not None:
            own["salt"] = str(self._plan.salt)
            # The same salt must give the same counts; this is what a second run compares.
            counted = [(one.part, one.number, one.value) for one in results.samples]
            own["counts_crc32"] = f"{zlib.crc32(repr(counted).encode()):08x}"
        return own


def run(job: GuestJob) -> TrialOutcome:
    """The outcome of the trial. Raises EnvironmentError_ when the machine is at fault."""
    if job.request.workload.kind == "guest_attacks":
        return run_attacks(job, _run_guest)
    return _run_guest(job)


def _run_guest(job: GuestJob) -> TrialOutcome:
    try:
        return GuestTrial(job).run()
    except FrameworkError as error:
        return TrialOutcome("failed", reason=" ".join(str(error).split()))


def main(job_path: str, outcome_path: str) -> int:
    """Run the job and write its outcome; the exit code says whether there is one."""
    return carry_out(job_path, outcome_path, GuestJob, run)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
