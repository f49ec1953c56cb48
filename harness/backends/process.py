"""Trials as fresh processes on this machine, against real TPMs in software."""

import ctypes.util
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

import harness
from harness.framework.errors import FrameworkError
from harness.model.errors import EnvironmentError_
from harness.model.record import TrialOutcome, TrialRequest
from harness.model.scenario import Scenario
from harness.workloads.trial_main import TrialJob
from harness.workloads.turns import conduct

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
            missing["libtpms"] = ("libtpms-dev", "libtpms-devel")
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
        trial = _Trial(request, self._host, None)
        trial.wait(request.workload.timeout_s)
        return trial.outcome()

    def run_block(self, requests: Sequence[TrialRequest]) -> list[TrialOutcome]:
        """Start all trials, let them take turns, and read their outcomes."""
        deadline = time.monotonic() + sum(request.workload.timeout_s for request in requests)
        trials: list[_Trial] = []
        streams: list[socket.socket] = []
        try:
            for request in requests:
                ours, theirs = socket.socketpair()
                streams.append(ours)
                with theirs:
                    trials.append(_Trial(request, self._host, theirs))
            conduct(streams, requests[0].seed, lambda: deadline - time.monotonic())
            for trial in trials:
                trial.wait(max(0.0, deadline - time.monotonic()))
        except BaseException:
            for trial in trials:
                trial.wait(0.0)
            raise
        finally:
            for stream in streams:
                stream.close()
        return [trial.outcome() for trial in trials]

    def close(self) -> None:
        """Nothing keeps running between trials."""


class _Trial:
    """A trial's process group; ``turn`` is its end of the block's turn-taking, or None."""

    def __init__(
        self, request: TrialRequest, host: Path | None, turn: socket.socket | None
    ) -> None:
        workdir = Path(request.workdir)
        job, self._outcome, self._log = (
            workdir / name for name in ("job.json", "outcome.msgpack", "log")
        )
        inherited = () if turn is None else (turn.fileno(),)
        content = TrialJob(request, str(host or ""), os.getpid(), inherited[0] if inherited else -1)
        job.write_bytes(msgspec.json.encode(content))
        self._timeout_s = request.workload.timeout_s
        self._finished = False
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.workloads.trial_main", job, self._outcome],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=_environment(),
                pass_fds=inherited,
            )

    def wait(self, timeout_s: float) -> None:
        """Wait for the process's end, then end what is left of its group."""
        self._finished = _wait_then_end_group(self._process, timeout_s)

    def outcome(self) -> TrialOutcome:
        """What the process left behind. Raises EnvironmentError_ when the machine is at fault."""
        if not self._finished:
            return TrialOutcome("timeout", reason=f"trial.timeout {self._timeout_s:g} s")
        code = self._process.returncode
        if code == 0:
            return msgspec.msgpack.decode(self._outcome.read_bytes(), type=TrialOutcome)
        reason = _last_line(self._log)
        if code == _ENVIRONMENT_EXIT:
            raise EnvironmentError_(reason)
        return TrialOutcome("failed", reason=f"trial.exit.{code} {reason}")


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
