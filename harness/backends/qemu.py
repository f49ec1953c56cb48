"""Trials as guests under QEMU: one boot each, of a kernel and agent that we build."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness.backends.guest_trial import Artifacts, GuestJob
from harness.backends.trial_process import TrialProcess, run_side_by_side
from harness.guest import build
from harness.guest.machine.command import CPU_MODEL, PROGRAM
from harness.model.errors import EnvironmentError_
from harness.model.record import TrialOutcome, TrialRequest
from harness.model.scenario import Arm, Scenario, Workload
from harness.scenario import arms_of
from harness.scenario.kinds import is_counted
from harness.workloads.guest_jobs import images_of
from harness.workloads.guest_plan import ARMS, KernelName, needs_uefi

_MODULE = "harness.backends.guest_trial"
# Beyond the guest's own limit: its TPM is made before and its evidence verified afterwards.
_AROUND_S = 90.0
_VERSION_LIMIT_S = 20.0

EMULATED: tuple[dict[str, str], ...] = (
    {
        "what": "guest's processor",
        "instead_of": "a virtual machine on the hardware",
        "note": "QEMU's TCG interprets every instruction; times are no hardware's times",
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


class _Needs(NamedTuple):
    """What a scenario boots."""

    kernels: frozenset[KernelName]
    images: frozenset[str]
    tpm: bool
    framework: bool
    uefi: bool


class QemuBackend:
    """Runs each trial in a process group of its own: a guest, and its TPM where it has one."""

    name = "qemu"

    def __init__(self) -> None:
        self._artifacts = Artifacts({}, "")
        self._needs = _Needs(frozenset(), frozenset(), False, False, False)

    def check(self, scenario: Scenario) -> None:
        """Name what is missing of QEMU, firmware and swtpm, as far as the scenario needs them."""
        needs = _needs_of(scenario)
        wanted = {PROGRAM: ("qemu-system-x86", "qemu-system-x86-core")}
        if needs.tpm:
            wanted["swtpm"] = ("swtpm", "swtpm")
        if needs.framework:
            wanted["swtpm_setup"] = ("swtpm-tools", "swtpm-tools")
        missing = {name: wanted[name] for name in wanted if shutil.which(name) is None}
        if missing:
            apt = " ".join(sorted({apt for apt, _ in missing.values()}))
            dnf = " ".join(sorted({dnf for _, dnf in missing.values()}))
            raise EnvironmentError_(
                f"missing: {', '.join(missing)}; get it with `apt-get install {apt}`"
                f" or `dnf install {dnf}`"
            )

    def prepare(self, scenario: Scenario, workdir: Path) -> None:
        """Build what the scenario boots, unless the cache has it."""
        needs = _needs_of(scenario)
        self._needs = needs
        kernels = build.build_kernels()
        self._artifacts = Artifacts(
            kernels={name: str(getattr(kernels, name)) for name in sorted(needs.kernels)},
            agent=str(build.build_agent()),
            images=_images(needs.images),
        )

    def provenance(self) -> dict[str, object]:
        """Versions and digests of what boots, and what is emulated."""
        emulated = [*EMULATED, *(_EMULATED_WITH_TPM if self._needs.tpm else ())]
        files = {
            **{f"kernel_{name}": path for name, path in self._artifacts.kernels.items()},
            **{f"image_{name}": path for name, path in self._artifacts.images.items()},
            "agent": self._artifacts.agent,
        }
        return {
            "emulated": emulated,
            "isolation": "a process per guest",
            "versions": {"qemu": _qemu_version()},
            "guest": {
                "accelerator": "tcg",
                "cpu_model": CPU_MODEL,
                "sha256": {name: _sha256(Path(path)) for name, path in files.items()},
            },
        }

    def run_trial(self, request: TrialRequest) -> TrialOutcome:
        """Boot one guest."""
        return self.run_block([request])[0]

    def run_block(self, requests: Sequence[TrialRequest]) -> list[TrialOutcome]:
        """Boot all guests of a block; as many at once as there are processors, if they count."""
        workload = requests[0].workload
        width = (os.cpu_count() or 1) if is_counted(workload) else 1
        starters = [partial(self._start, request) for request in requests]
        return run_side_by_side(starters, width, workload.timeout_s + _AROUND_S)

    def close(self) -> None:
        """Nothing keeps running between trials."""

    def _start(self, request: TrialRequest) -> TrialProcess:
        job = GuestJob(request, self._artifacts, os.getpid())
        return TrialProcess(_MODULE, request, job)


def _needs_of(scenario: Scenario) -> _Needs:
    trials: list[tuple[Workload, Arm]] = [
        (workload, arm)
        for workload in scenario.workloads
        for arm in arms_of(scenario, workload).values()
    ]
    with_tpm = [arm for workload, arm in trials if not is_counted(workload)]
    return _Needs(
        kernels=frozenset(ARMS[arm.kind].kernel for _, arm in trials),
        images=frozenset(name for workload, _ in trials for name in images_of(workload)),
        tpm=bool(with_tpm),
        framework=any(ARMS[arm.kind].tpm == "framework" for arm in with_tpm),
        uefi=any(needs_uefi(workload) for workload, _ in trials),
    )


def _images(names: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    if "root" in names:
        found["root"] = str(build.build_image())
    if names - {"root"}:
        found |= {name: str(path) for name, path in build.build_container_images().items()}
    return {name: found[name] for name in sorted(names)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _qemu_version() -> str:
    result = subprocess.run(
        [PROGRAM, "--version"],
        capture_output=True,
        text=True,
        timeout=_VERSION_LIMIT_S,
        check=False,
    )
    return result.stdout.partition("\n")[0].removeprefix("QEMU emulator version ")
