"""Trials as guests under QEMU: one boot each, of a kernel and agent that we build."""

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from harness.backends.guest_files import Artifacts, GuestJob
from harness.backends.guest_prepare import Needs, build_artifacts, needs_of
from harness.backends.missing import require_nothing
from harness.backends.provisioned import provisioned
from harness.backends.trial_process import TrialProcess, run_side_by_side
from harness.guest.cache import digest_of
from harness.guest.machine.accelerator import qemu_version
from harness.guest.machine.command import CPU_MODELS, PROGRAM
from harness.guest.machine.firmware import require_firmware
from harness.model.record import TrialOutcome, TrialRequest
from harness.model.scenario import Scenario
from harness.scenario.kinds import runs_at_once

_MODULE = "harness.backends.guest_trial"
# Beyond the guest's own limit: its TPM is made before and its evidence verified afterwards.
_AROUND_S = 90.0

EMULATED: tuple[dict[str, str], ...] = (
    {
        "what": "guest's processor",
        "instead_of": "a virtual machine on the hardware",
        "note": "QEMU's TCG translates every instruction (where 'accelerator' says so);"
        " times are no hardware's times",
    },
    {
        "what": "memory encryption",
        "instead_of": "a confidential virtual machine",
        "note": "the guest's memory is open to the host",
    },
)
_EMULATED_WITH_TPM: tuple[dict[str, str], ...] = (
    {
        "what": "TPM of the guest",
        "instead_of": "a TPM of a physical or confidential machine",
        "note": "swtpm or the framework's vTPM (libtpms), behind QEMU's TPM device",
    },
    {
        "what": "CSV secure processor",
        "instead_of": "a Hygon processor with CSV",
        "note": "software with generated keys; real report layout, SM2 and SM3; its root is named",
    },
)


class QemuBackend:
    """Runs each trial in a process group of its own: a guest, and its TPM where it has one."""

    name = "qemu"

    def __init__(self) -> None:
        self._artifacts = Artifacts({}, "")
        self._needs = Needs(frozenset(), frozenset(), False, False, frozenset())

    def check(self, scenario: Scenario) -> None:
        """Name what is missing of QEMU, firmware and swtpm, as far as the scenario needs them."""
        needs = needs_of(scenario)
        wanted = {PROGRAM: ("qemu-system-x86", "qemu-system-x86-core")}
        if needs.tpm:
            wanted["swtpm"] = ("swtpm", "swtpm")
        if needs.uefi:
            require_firmware()
        if needs.framework:
            wanted["swtpm_setup"] = ("swtpm-tools", "swtpm-tools")
        missing = {name: wanted[name] for name in wanted if shutil.which(name) is None}
        require_nothing(missing)

    def prepare(self, scenario: Scenario, workdir: Path) -> None:
        """Build what the scenario boots, unless the cache has it."""
        self._needs = needs_of(scenario)
        artifacts = build_artifacts(self._needs, workdir, _boot)
        if self._needs.framework:
            artifacts = msgspec.structs.replace(artifacts, host=str(provisioned(workdir / "host")))
        self._artifacts = artifacts

    def provenance(self) -> dict[str, object]:
        """Versions and digests of what boots, and what is emulated."""
        accelerator = self._artifacts.accelerator
        emulated = [*EMULATED, *(_EMULATED_WITH_TPM if self._needs.tpm else ())]
        files = {
            **{f"kernel_{name}": path for name, path in self._artifacts.kernels.items()},
            **{f"image_{name}": path for name, path in self._artifacts.images.items()},
            "agent": self._artifacts.agent,
        }
        for name, path in self._artifacts.kernels.items():
            config = Path(path).with_name(".config")
            files |= {f"config_{name}": str(config)} if config.exists() else {}
        for name, uefi in self._artifacts.uefi.items():
            files |= {f"partition {name}": uefi.partition, "firmware": uefi.code}
        return {
            "emulated": emulated,
            "isolation": "a process per guest",
            "versions": {"qemu": qemu_version()},
            "guest": {
                "accelerator": "tcg where instructions are counted, else " + accelerator,
                "cpu_model": CPU_MODELS[accelerator],
                "sha256": {name: digest_of(Path(path)) for name, path in files.items()},
            },
        }

    def run_trial(self, request: TrialRequest) -> TrialOutcome:
        """Boot one guest."""
        return self.run_block([request])[0]

    def run_block(self, requests: Sequence[TrialRequest]) -> list[TrialOutcome]:
        """Boot all guests of a block, as many at once as there are processors if they may."""
        workload = requests[0].workload
        width = (os.cpu_count() or 1) if runs_at_once(workload) else 1
        starters = [partial(self._start, request) for request in requests]
        return run_side_by_side(starters, width, workload.timeout_s + _AROUND_S)

    def close(self) -> None:
        """Nothing keeps running between trials."""

    def _start(self, request: TrialRequest) -> TrialProcess:
        return _started(request, self._artifacts)


def _started(request: TrialRequest, artifacts: Artifacts) -> TrialProcess:
    return TrialProcess(_MODULE, request, GuestJob(request, artifacts, os.getpid()))


def _boot(request: TrialRequest, artifacts: Artifacts) -> TrialOutcome:
    """Run one trial outside of a block."""
    starter = partial(_started, request, artifacts)
    return run_side_by_side([starter], 1, request.workload.timeout_s + _AROUND_S)[0]
