"""What a guest's trial is told: the request, and the files that guests boot from."""

import msgspec

from harness.guest.machine.command import Accelerator
from harness.model.record import TrialRequest
from harness.workloads.guest_references import References


class UefiFiles(msgspec.Struct, frozen=True):
    """What a guest boots through UEFI: the firmware's two images, and an EFI system partition.

    ``references``: what a verifier may accept.
    """

    code: str
    variables: str
    partition: str
    references: References


class Artifacts(msgspec.Struct, frozen=True):
    """Files that guests boot from, by name; paths are absolute. ``host``: the host platform's.

    ``uefi`` is by what `uefi_name` gives for a plan; ``accelerator`` runs guests in real time.
    """

    kernels: dict[str, str]
    agent: str
    images: dict[str, str] = {}
    host: str = ""
    uefi: dict[str, UefiFiles] = {}
    accelerator: Accelerator = "tcg"


class GuestJob(msgspec.Struct, frozen=True):
    """What the process is told; ``controller`` is the one that it ends with, 0 by hand."""

    request: TrialRequest
    artifacts: Artifacts
    controller: int = 0


def uefi_name(kernel: str, command_line: str) -> str:
    """Names a unified kernel image among the artifacts."""
    return f"{kernel} {command_line}"
