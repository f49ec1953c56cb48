"""What a scenario's guests boot from, made once before its trials: kernels, images, references."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.backends.guest_files import Artifacts, UefiFiles, uefi_name
from harness.framework.errors import FrameworkError
from harness.guest import build, cache
from harness.guest.digests import file_digests
from harness.guest.machine.accelerator import accelerator
from harness.guest.machine.firmware import require_firmware
from harness.model.errors import EnvironmentError_
from harness.model.record import TrialOutcome, TrialRequest
from harness.model.scenario import Arm, Cell, Scenario, Workload
from harness.scenario import arms_of
from harness.scenario.kinds import is_counted
from harness.workloads.guest_evidence import boot_references
from harness.workloads.guest_jobs import images_of
from harness.workloads.guest_plan import (
    ARMS,
    CHAIN_MEMORY_MIB,
    KernelName,
    command_line,
    needs_uefi,
)
from harness.workloads.guest_references import References, generated_files

_REFERENCE_TIMEOUT_S = 180.0
_LOGS = ("boot_log", "ima_log")
# What a reference boot may fail by: files that the agent makes are not known yet.
_EXPECTED_FAILURE = "ima.file.unknown"

Boot = Callable[[TrialRequest, Artifacts], TrialOutcome]


class Needs(NamedTuple):
    """What a scenario boots; ``uefi`` are kernel and command line of each unified image."""

    kernels: frozenset[KernelName]
    images: frozenset[str]
    tpm: bool
    framework: bool
    uefi: frozenset[tuple[KernelName, str]]


def needs_of(scenario: Scenario) -> Needs:
    """What ``scenario`` needs of this machine."""
    trials: list[tuple[Workload, Arm]] = [
        (workload, arm)
        for workload in scenario.workloads
        for arm in arms_of(scenario, workload).values()
    ]
    with_tpm = [arm for workload, arm in trials if not is_counted(workload)]
    through_uefi = [ARMS[arm.kind] for workload, arm in trials if needs_uefi(workload)]
    return Needs(
        kernels=frozenset(ARMS[arm.kind].kernel for _, arm in trials),
        images=frozenset(name for workload, _ in trials for name in images_of(workload)),
        tpm=bool(with_tpm),
        framework=any(ARMS[arm.kind].tpm == "framework" for arm in with_tpm),
        uefi=frozenset(
            (arm.kernel, command_line(arm.builtin_policy, None)) for arm in through_uefi
        ),
    )


def build_artifacts(needs: Needs, workdir: Path, boot: Boot) -> Artifacts:
    """Build what ``needs`` names, unless the cache has it. Raises EnvironmentError_.

    ``boot`` runs a trial; it is used to learn the reference values of a unified image.
    """
    kernels = build.build_kernels()
    artifacts = Artifacts(
        kernels={name: str(getattr(kernels, name)) for name in sorted(needs.kernels)},
        agent=str(build.build_agent()),
        images=_images(needs.images),
        accelerator=accelerator() if needs.tpm else "tcg",
    )
    for kernel, line in sorted(needs.uefi):
        name = uefi_name(kernel, line)
        files = _uefi_files(artifacts, kernel, line)
        known = msgspec.structs.replace(artifacts, uefi={**artifacts.uefi, name: files})
        references = _references((kernel, line), files, known, boot, workdir)
        files = msgspec.structs.replace(files, references=references)
        artifacts = msgspec.structs.replace(known, uefi={**known.uefi, name: files})
    return artifacts


def _images(names: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    if "root" in names:
        found["root"] = str(build.build_image())
    if names - {"root"}:
        found |= {name: str(path) for name, path in build.build_container_images().items()}
    return {name: found[name] for name in sorted(names)}


def _uefi_files(artifacts: Artifacts, kernel: KernelName, line: str) -> UefiFiles:
    """The files of one unified image, with the reference values that follow from files alone."""
    firmware = require_firmware()
    unified = build.build_uki(Path(artifacts.kernels[kernel]), build.build_initrd({}), line)
    partition = build.build_esp(unified)
    references = References(
        agent=bytes.fromhex(cache.digest_of(Path(artifacts.agent))),
        image=file_digests(Path(artifacts.images["a"])),
    )
    return UefiFiles(str(firmware.code), str(firmware.variables), str(partition), references)


def _references(
    image: tuple[KernelName, str],
    files: UefiFiles,
    artifacts: Artifacts,
    boot: Boot,
    workdir: Path,
) -> References:
    """The reference values of ``files``, with those that only a boot shows.

    The firmware's own events and what the agent makes at run time come from one boot, and are
    pinned ever after: whoever wants to trust them boots on a machine that he trusts, as here.
    """
    paths = (files.code, files.variables, files.partition)
    inputs = {Path(path).name: cache.digest_of(Path(path)) for path in paths}
    inputs |= {"memory": str(CHAIN_MEMORY_MIB), "image": " ".join(image)}
    inputs["accelerator"] = artifacts.accelerator
    recipe = cache.Recipe("boot-references", inputs)

    def make(into: Path) -> None:
        logs = _logs_of(boot(_reference_request(*image, workdir), artifacts))
        for name, log in logs.items():
            (into / name).write_bytes(log)

    folder = cache.obtain(recipe, make)
    boot_log, ima_log = ((folder / name).read_bytes() for name in _LOGS)
    try:
        return msgspec.structs.replace(
            files.references, boot=boot_references(boot_log), generated=generated_files(ima_log)
        )
    except FrameworkError as error:
        raise EnvironmentError_(f"{folder}: {error}; remove the folder and run again") from error


def _reference_request(kernel: KernelName, line: str, workdir: Path) -> TrialRequest:
    kinds = [
        kind
        for kind, arm in ARMS.items()
        if arm.kernel == kernel
        and command_line(arm.builtin_policy, None) == line
        and arm.tpm != "framework"
    ]
    workload = Workload(
        "reference-boot", "guest_attestation", iterations=1, timeout_s=_REFERENCE_TIMEOUT_S
    )
    folder = workdir / f"reference-{hashlib.sha256(line.encode()).hexdigest()[:8]}-{kernel}"
    folder.mkdir()
    cell = Cell("reference", workload.name, {})
    return TrialRequest("reference", cell, workload, Arm("reference", kinds[0]), 0, str(folder))


def _logs_of(outcome: TrialOutcome) -> dict[str, bytes]:
    """The logs of a reference boot, whose files the policy does not know yet."""
    names = outcome.notes.get("evidence_names", "").split(",")
    sent = dict(zip(names, outcome.evidence, strict=False))
    accepted = outcome.status == "ok" or outcome.reason == _EXPECTED_FAILURE
    if not accepted or not all(name in sent for name in _LOGS):
        raise EnvironmentError_(
            f"the reference boot of the guest failed: {outcome.status} {outcome.reason}; "
            "`attestbench doctor` shows what is missing"
        )
    return {name: sent[name] for name in _LOGS}
