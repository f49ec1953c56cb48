"""Trials as fresh processes on this machine, against real TPMs in software."""

import ctypes.util
import os
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from harness.backends.missing import require_nothing
from harness.backends.provisioned import provisioned
from harness.backends.trial_process import TrialProcess
from harness.model.record import TrialOutcome, TrialRequest
from harness.model.scenario import Scenario
from harness.workloads.trial_main import TrialJob
from harness.workloads.turns import conduct

_BASELINE_KIND = "software-tpm"
_MODULE = "harness.workloads.trial_main"

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
        require_nothing(missing)

    def prepare(self, scenario: Scenario, workdir: Path) -> None:
        """Provision the host platform that all trials share, unless it is there already."""
        if not _needs_host(scenario):
            return
        from harness.framework.vtpm import isolation

        self._isolation = str(isolation.available())
        self._host = provisioned(workdir / "host")

    def provenance(self) -> dict[str, object]:
        """What is emulated, and the isolation of the vTPM service."""
        return {"emulated": list(EMULATED), "isolation": self._isolation, "versions": {}}

    def run_trial(self, request: TrialRequest) -> TrialOutcome:
        """Start the trial's process and read its outcome."""
        trial = self._start(request, None)
        trial.wait(request.workload.timeout_s)
        return trial.outcome()

    def run_block(self, requests: Sequence[TrialRequest]) -> list[TrialOutcome]:
        """Start all trials, let them take turns, and read their outcomes."""
        deadline = time.monotonic() + sum(request.workload.timeout_s for request in requests)
        trials: list[TrialProcess] = []
        streams: list[socket.socket] = []
        try:
            for request in requests:
                ours, theirs = socket.socketpair()
                streams.append(ours)
                with theirs:
                    trials.append(self._start(request, theirs))
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

    def _start(self, request: TrialRequest, turn: socket.socket | None) -> TrialProcess:
        end = -1 if turn is None else turn.fileno()
        job = TrialJob(request, str(self._host or ""), os.getpid(), end)
        return TrialProcess(_MODULE, request, job, turn)


def _needs_host(scenario: Scenario) -> bool:
    return any(arm.kind != _BASELINE_KIND for arm in scenario.arms)
