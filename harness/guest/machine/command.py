"""QEMU's command line. One machine type for every guest, so that profiles differ on purpose only.

q35 always: microvm hangs at random on a loaded host. ``qemu64`` executes the fewest instructions in
page table work and offers no RDRAND, which would make boots differ.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from harness.model.errors import EnvironmentError_

PROGRAM = "qemu-system-x86_64"
Accelerator = Literal["tcg", "kvm"]
CPU_MODELS: Mapping[Accelerator, str] = {"tcg": "qemu64", "kvm": "host"}
TpmInterface = Literal["crb", "tis"]

_DEVICE_SLACK_MIB = 2
_MIB = 1024 * 1024


class ControlPort(NamedTuple):
    """A stream to the guest: ``descriptor`` is QEMU's end, which it must inherit."""

    descriptor: int


class Firmware(NamedTuple):
    """UEFI firmware: its code, and a copy of its variables that this guest alone may write."""

    code: Path
    variables: Path


class Guest(NamedTuple):
    """One guest to boot. Either ``kernel`` is loaded directly, or ``esp`` by the firmware.

    ``salt``: None lets time flow; a number counts instructions instead (one virtual nanosecond
    each), and is the seed of all that is random. ``images`` are read-only root file systems: with
    a salt NVDIMMs, which answer at once, else disks. ``tpm_socket``: control socket of a TPM that
    speaks swtpm's protocol.
    """

    console: Path
    memory_mib: int = 512
    kernel: Path | None = None
    initrd: Path | None = None
    command_line: str = ""
    firmware: Firmware | None = None
    esp: Path | None = None
    images: tuple[Path, ...] = ()
    salt: int | None = None
    tpm_socket: Path | None = None
    tpm_interface: TpmInterface = "crb"
    port: ControlPort | None = None
    results: Path | None = None
    accelerator: Accelerator = "tcg"


def qemu_command(guest: Guest, program: str = PROGRAM) -> list[str]:
    """Arguments that start ``guest``, the program first."""
    command = [
        program,
        "-no-user-config",
        "-nodefaults",
        "-display", "none",
        "-monitor", "none",
        "-no-reboot",
        "-accel", guest.accelerator,
        "-machine", _machine(guest),
        "-cpu", CPU_MODELS[guest.accelerator],
        "-smp", "1",
        "-chardev", f"file,id=console,path={_escaped(guest.console)}",
        "-serial", "chardev:console",
    ]  # fmt: skip
    if guest.results is not None:
        command += ["-chardev", f"file,id=results,path={_escaped(guest.results)}"]
        command += ["-serial", "chardev:results"]
    return command + _memory(guest) + _time(guest) + _boot(guest) + _devices(guest)


def _machine(guest: Guest) -> str:
    # Without keyboard controller: the kernel would wait for its answers while it is measured.
    return "q35,i8042=off,nvdimm=on" if _has_nvdimms(guest) else "q35,i8042=off"


def _has_nvdimms(guest: Guest) -> bool:
    return guest.salt is not None and bool(guest.images)


def _memory(guest: Guest) -> list[str]:
    if not _has_nvdimms(guest):
        return ["-m", str(guest.memory_mib)]
    sizes = [_nvdimm_bytes(image) for image in guest.images]
    most = guest.memory_mib + sum(sizes) // _MIB + _DEVICE_SLACK_MIB
    arguments = ["-m", f"{guest.memory_mib},slots={len(sizes)},maxmem={most}M"]
    for index, (image, size) in enumerate(zip(guest.images, sizes, strict=True)):
        backend = f"memory-backend-file,id=image{index},mem-path={_escaped(image)},size={size}"
        arguments += ["-object", f"{backend},share=off,readonly=on"]
        arguments += ["-device", f"nvdimm,id=pmem{index},memdev=image{index},unarmed=on"]
    return arguments


def _nvdimm_bytes(image: Path) -> int:
    """Size of an image. Raises EnvironmentError_ unless it fills whole NVDIMM units."""
    try:
        size = image.stat().st_size
    except OSError as error:
        raise EnvironmentError_(
            f"{image}: cannot be read ({error.strerror}); run `attestbench guest build`"
        ) from error
    if size == 0 or size % (2 * _MIB):
        raise EnvironmentError_(
            f"{image}: {size} bytes, an NVDIMM needs a multiple of 2 MiB; "
            "run `attestbench guest build --image`"
        )
    return size


def _time(guest: Guest) -> list[str]:
    if guest.salt is None:
        return []
    return [
        "-icount", "shift=0,sleep=off,align=off",
        "-rtc", "base=2026-01-01,clock=vm",
        "-seed", str(guest.salt),
    ]  # fmt: skip


def _boot(guest: Guest) -> list[str]:
    arguments: list[str] = []
    if guest.firmware is not None:
        code, variables = (_escaped(path) for path in guest.firmware)
        arguments += ["-drive", f"if=pflash,format=raw,readonly=on,file={code}"]
        arguments += ["-drive", f"if=pflash,format=raw,file={variables}"]
    if guest.esp is not None:
        # SATA: our kernel has no driver for it, so that virtio disks are numbered by images alone.
        # Such a disk can't be read-only; what is written to a snapshot goes with QEMU.
        drive = f"if=none,id=esp,format=raw,snapshot=on,file={_escaped(guest.esp)}"
        arguments += ["-drive", drive, "-device", "ide-hd,drive=esp,bootindex=0"]
    if guest.kernel is not None:
        arguments += ["-kernel", str(guest.kernel), "-append", guest.command_line]
    if guest.initrd is not None:
        arguments += ["-initrd", str(guest.initrd)]
    return arguments


def _devices(guest: Guest) -> list[str]:
    arguments: list[str] = []
    if guest.port is not None:
        # The first virtio device, since that numbers it: /dev/vport0p1.
        arguments += ["-device", "virtio-serial-pci"]
        arguments += ["-chardev", f"socket,id=port,fd={guest.port.descriptor}"]
        arguments += ["-device", "virtserialport,chardev=port,nr=1,name=attestbench.control"]
    if guest.salt is None:
        for index, image in enumerate(guest.images):
            drive = f"if=none,id=image{index},format=raw,readonly=on,file={_escaped(image)}"
            arguments += ["-drive", drive, "-device", f"virtio-blk-pci,drive=image{index}"]
    if guest.tpm_socket is not None:
        arguments += ["-chardev", f"socket,id=tpm,path={_escaped(guest.tpm_socket)}"]
        arguments += ["-tpmdev", "emulator,id=tpm0,chardev=tpm"]
        arguments += ["-device", f"tpm-{guest.tpm_interface},tpmdev=tpm0"]
    return arguments


def _escaped(path: Path) -> str:
    """A comma separates QEMU's options; doubled it is part of the value."""
    return str(path).replace(",", ",,")
