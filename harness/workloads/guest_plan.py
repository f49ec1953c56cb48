"""From a trial to the guest that runs it: kernel, command line, policy, TPM and job. No I/O."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from harness.guest.machine.command import TpmInterface
from harness.model.errors import InputError
from harness.model.record import TrialRequest
from harness.model.scenario import AA_SUFFIX, Workload
from harness.scenario.kinds import is_counted
from harness.workloads.factors import ak_of
from harness.workloads.guest_jobs import Image, images_of, job_of, memory_of
from harness.workloads.guest_policy import per_image_policy

if TYPE_CHECKING:  # brings the TSS libraries, which most guests do not need
    from harness.framework.tpm.keys import AkKind

KernelName = Literal["stock", "namespaced"]
TpmKind = Literal["none", "software-tpm", "framework"]

CHAIN_MEMORY_MIB = 1024
_COMMON = "console=ttyS0 quiet panic=-1 oops=panic rootfstype=ramfs"
# Addresses and clocks that are the same in every boot; without a local APIC, since the kernel would
# wait for a quarter of a billion instructions to find its frequency.
_COUNTED = "nolapic nokaslr norandmaps tsc=reliable clocksource=tsc"


class ArmSetup(NamedTuple):
    """What an arm boots: which kernel, with which builtin policy ("" for none)."""

    kernel: KernelName
    builtin_policy: str
    tpm: TpmKind = "none"
    per_image: bool = False


ARMS: Mapping[str, ArmSetup] = {
    "ima-off": ArmSetup("stock", ""),
    "ima-stock": ArmSetup("stock", "tcb"),
    "ima-namespaced": ArmSetup("namespaced", "container"),
    "ima-namespaced-tcb": ArmSetup("namespaced", "tcb"),
    "policy-only": ArmSetup("stock", "tcb", per_image=True),
    "software-tpm": ArmSetup("namespaced", "container", "software-tpm"),
    "framework": ArmSetup("namespaced", "container", "framework"),
}


class GuestPlan(NamedTuple):
    """A guest to boot. ``salt`` None: time flows, else instructions are counted.

    ``uefi``: firmware, a unified kernel image and a control port, over which the job comes; else
    the kernel is loaded directly, and job and policy lie in its initial file system.
    """

    job: str
    kernel: KernelName
    command_line: str
    policy: bytes
    images: tuple[Image, ...]
    memory_mib: int
    uefi: bool
    tpm: TpmKind
    tpm_interface: TpmInterface
    ak: "AkKind"
    salt: int | None


def plan_guest(request: TrialRequest) -> GuestPlan:
    """The guest of a trial. Raises InputError for an arm that no guest can be."""
    workload, arm = request.workload, request.arm
    if arm.kind not in ARMS:
        raise InputError(f"arm {arm.name}: no guest is {arm.kind}; known: {', '.join(ARMS)}")
    setup = ARMS[arm.kind]
    counted = is_counted(workload)
    salt = salt_of(request) if counted else None
    uefi = needs_uefi(workload)
    return GuestPlan(
        job=job_of(request),
        kernel=setup.kernel,
        command_line=command_line(setup.builtin_policy if measures(workload) else "", salt),
        policy=per_image_policy() if setup.per_image else b"",
        images=images_of(workload),
        memory_mib=CHAIN_MEMORY_MIB if uefi else memory_of(workload),
        uefi=uefi,
        # Whoever's time counts has a TPM: without one IMA would not extend.
        tpm="none" if counted else ("software-tpm" if setup.tpm == "none" else setup.tpm),
        tpm_interface="tis" if workload.options.get("tpm") == "tis" else "crb",
        ak=ak_of(request.cell.factors),
        salt=salt,
    )


def needs_uefi(workload: Workload) -> bool:
    """Whether the guest attests itself, and so must be measured from its firmware on."""
    return workload.kind in ("guest_attestation", "guest_attacks")


def measures(workload: Workload) -> bool:
    """Whether IMA is to measure: not while TPM commands are timed, where it would come between."""
    return workload.kind != "guest_tpm_commands"


def command_line(builtin_policy: str, salt: int | None) -> str:
    """The kernel's command line."""
    words = [_COMMON]
    if builtin_policy:
        words.append(f"ima_policy={builtin_policy}")
    if salt is not None:
        words += [_COUNTED, f"attestbench.salt={salt}"]
    return " ".join(words)


def salt_of(request: TrialRequest) -> int:
    """The layout that this boot draws: one per block, and another for the baseline's A/A copy.

    So candidates are compared under the same layout, and the A/A copy shows what another one does.
    """
    copy = "A/A" if request.arm.name.endswith(AA_SUFFIX) else "block"
    digest = hashlib.sha256(f"{request.seed}/{copy}".encode()).digest()
    return 1 + int.from_bytes(digest[:4], "big") % (2**31 - 1)
