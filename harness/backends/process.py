"""Trials as fresh processes on this machine, against real TPMs in software."""

import ctypes.util
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

import harness
from harness.framework.errors import FrameworkError
from harness.model.errors import EnvironmentError_
from harness.model.record import TrialOutcome, TrialRequest
from harness.model.scenario import Scenario
from harness.workloads.trial_main import TrialJob

_BASELINE_KIND = "software-tpm"
_COMPLETE = "complete"
_ENVIRONMENT_EXIT = EnvironmentError_.exit_code

EMULATED: tuple[dict[str, str], ...] = (
    {
        "what": "hardware TPM of the host",
        "instead_of": "a discrete or firmware TPM",
        "note": "swtpm with an EK certificate of a local manufacturer CA",
    },
    {
        "what": "CSV secure processor",
        "instead_of": "a Hygon processor with CSV",
        "note": "software with generated keys; real report layout, SM2 and SM3; its root is named",
    },
    {
        "what": "IMA and boot logs",
        "instead_of": "measurements of a booted guest",
        "note": "generated in the real formats, and truly extended into the TPM of each arm",
    },
    {
        "what": "pod VM",
        "instead_of": "a confidential virtual machine",
        "note": "a process on the same machine; no memory is encrypted",
    },
)


class ProcessBackend:
    """Runs each trial in a process group of its own, which never outlives the trial."""

    name = "process"

    def __init__(self) -> None:
        self._host: Path | None = None
        self._isolation = "none"

    def check(self, scenario: Scenario) -> None:
        """Name what is missing of swtpm, swtpm_setup and libtpms. Baseline alone: swtpm only."""
        needs = {"swtpm": ("swtpm", "swtpm")}
        if _needs_host(scenario):
            needs |= {"swtpm_setup": ("swtpm-tools", "swtpm-tools")}
        missing = {name: needs[name] for name in needs if shutil.which(name) is None}
        if _needs_host(scenario) and ctypes.util.find_library("tpms") is None:
            missing["libtpms"] = ("libtpms0", "libtpms")
        if missing:
            apt = " ".join(sorted({apt for apt, _ in missing.values()}))
            dnf = " ".join(sorted({dnf for _, dnf in missing.values()}))
            raise EnvironmentError_(
                f"missing: {', '.join(missing)}; get it with `apt-get install {apt}`"
                f" or `dnf install {dnf}`"
            )

    def prepare(self, scenario: Scenario, workdir: Path) -> None:
        """Provision the host platform that all trials share, unless it is there already."""
        if not _needs_host(scenario):
            return
        from harness.framework.vtpm import isolation

        self._isolation = str(isolation.available())
        host = workdir / "host"
        # The mark is made last: what a killed run left half done is made again.
        if not (host / _COMPLETE).exists():
            shutil.rmtree(host, ignore_errors=True)
            _provision(host)
            (host / _COMPLETE).touch()
        self._host = host

    def provenance(self) -> dict[str, object]:
        """What is emulated, and the isolation of the vTPM service."""
        return {"emulated": list(EMULATED), "isolation": self._isolation, "versions": {}}

    def run_trial(self, request: TrialRequest) -> TrialOutcome:
        """Start the trial's process and read its outcome."""
        workdir = Path(request.workdir)
        job, outcome, log = (workdir / name for name in ("job.json", "outcome.msgpack", "log"))
        host = str(self._host or "")
        job.write_bytes(msgspec.json.encode(TrialJob(request, host, os.getpid())))
        command = [sys.executable, "-m", "harness.workloads.trial_main", str(job), str(outcome)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=_environment(),
            )
        finished = _wait_then_end_group(process, request.workload.timeout_s)
        if not finished:
            return TrialOutcome("timeout", reason=f"trial.timeout {request.workload.timeout_s:g} s")
        if process.returncode == 0:
            return msgspec.msgpack.decode(outcome.read_bytes(), type=TrialOutcome)
        reason = _last_line(log)
        if process.returncode == _ENVIRONMENT_EXIT:
            raise EnvironmentError_(reason)
        return TrialOutcome("failed", reason=f"trial.exit.{process.returncode} {reason}")

    def close(self) -> None:
        """Nothing keeps running between trials."""


def _needs_host(scenario: Scenario) -> bool:
    return any(arm.kind != _BASELINE_KIND for arm in scenario.arms)


def _provision(host: Path) -> None:
    from harness.framework.host.platform import HostPlatform

    try:
        HostPlatform.provision(host)
    except (FrameworkError, OSError) as error:
        raise EnvironmentError_(f"the host platform cannot be provisioned: {error}") from error


def _environment() -> dict[str, str]:
    """Ours, in which the trial also finds this package when it runs from its source."""
    source = str(Path(harness.__file__).resolve().parents[1])
    inherited = os.environ.get("PYTHONPATH")
    # PYTEST_* would reach the pytest inside a trial and change how it measures.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTHONPATH": f"{source}:{inherited}" if inherited else source}


def _wait_then_end_group(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Whether the process ended in time; nothing of its group runs afterwards in any case.

    Waits on a pidfd, without polling beside the measurement. The group is ended before the leader
    is reaped, while its number can't belong to anyone else.
    """
    descriptor = os.pidfd_open(process.pid)
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        finished = bool(poller.poll(timeout_s * 1000))
    finally:
        os.close(descriptor)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return finished


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip()[:300] if lines else "no message"
