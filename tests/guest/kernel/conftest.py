"""Guests that test the kernel series: programs of this folder as /init, with a TPM or without."""

import contextlib
import dataclasses
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from harness.guest import initrd
from harness.guest.build import Kernels, build_kernels

from .replay import Guest, read_console

_HERE = Path(__file__).parent
_LIMIT = 240  # seconds; a guest of these tests takes 3 to 15 on an idle machine
# A bzImage of the patched tree built with debug.config; see README.md beside the series.
_DEBUG_KERNEL = os.environ.get("ATTESTBENCH_DEBUG_KERNEL")


class Boot(Protocol):
    """Boots one of the kernels with one of the programs."""

    def __call__(
        self, kernel: str, program: str, arguments: str, tpm: str = "", processors: int = 1
    ) -> Guest: ...


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    kernels = build_kernels()
    if not _DEBUG_KERNEL:
        return kernels
    return dataclasses.replace(kernels, namespaced=Path(_DEBUG_KERNEL))


@pytest.fixture(scope="session")
def boot(kernels: Kernels, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    def run(kernel: str, program: str, arguments: str, tpm: str = "", processors: int = 1) -> Guest:
        folder = tmp_path_factory.mktemp(program)
        memory, limit = ("2048", 10 * _LIMIT) if _DEBUG_KERNEL else ("512", _LIMIT)
        ramdisk = folder / "initrd"
        ramdisk.write_bytes(initrd.archive(_compiled(program, folder), {}))
        command: list[str | Path] = [
            *("qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-cpu", "max"),
            *("-m", memory, "-smp", str(processors), "-nodefaults", "-display", "none"),
            *("-serial", "stdio", "-monitor", "none", "-no-reboot"),
            *("-kernel", getattr(kernels, kernel), "-initrd", ramdisk, "-append"),
            f"console=ttyS0 loglevel=5 rootfstype=ramfs panic=-1 {arguments}",
        ]
        with _tpm(folder) if tpm else contextlib.nullcontext() as socket:
            if tpm:
                command += ["-chardev", f"socket,id=c,path={socket}"]
                command += ["-tpmdev", "emulator,id=t,chardev=c", "-device", f"{tpm},tpmdev=t"]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False
            )
        guest = read_console(done.stdout.decode(errors="replace"))
        for word in ("WARNING:", "BUG:", "Call Trace", "KASAN", "possible circular"):
            assert word not in guest.console
        return guest

    return run


def _compiled(program: str, folder: Path) -> bytes:
    binary = folder / program
    sources = [_HERE / f"{program}.c", _HERE / "guest.c"]
    warnings = ("-Wall", "-Wextra", "-Werror")
    command: list[str | Path] = ["musl-gcc", "-static", "-O2", *warnings, "-o", binary, *sources]
    subprocess.run(command, check=True)
    return binary.read_bytes()


@contextlib.contextmanager
def _tpm(folder: Path) -> Iterator[Path]:
    """The control socket of a fresh software TPM with a SHA-256 bank."""
    state, socket = folder / "tpm", folder / "tpm.socket"
    state.mkdir()
    setup: list[str | Path] = [
        "swtpm_setup",
        "--tpm2",
        "--tpmstate",
        state,
        "--pcr-banks",
        "sha256",
    ]
    subprocess.run(setup, check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(
        [
            *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}"),
            *("--ctrl", f"type=unixio,path={socket}", "--flags", "startup-none"),
        ]
    )
    try:
        end = time.monotonic() + 20
        while not socket.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        yield socket
    finally:
        process.kill()
        process.wait()
