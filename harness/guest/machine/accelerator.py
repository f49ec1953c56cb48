"""Which accelerator runs guests in real time: KVM where a guest was seen to boot, else TCG.

That /dev/kvm opens, or even runs a few instructions, proves nothing: nested hosts exist where Linux
never comes up. So a whole guest is booted, once, when the user asks for it; a host where that hangs
would otherwise cost every run a quarter of a minute.
"""

import os
import platform
import subprocess
import tempfile
from pathlib import Path

from harness.guest import cache
from harness.guest.machine.command import PROGRAM, Accelerator, Guest
from harness.guest.machine.run import run_guest

KVM = Path("/dev/kvm")
_PROBE_LIMIT_S = 15.0
_VERSION_LIMIT_S = 20.0
_VERDICT = "verdict"


def accelerator() -> Accelerator:
    """KVM if `probe_kvm` saw it work with this kernel and QEMU, else TCG."""
    entry = cache.read(cache.folder() / _recipe().entry())
    if entry is None or not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg"
    return "kvm" if (entry.path / _VERDICT).read_text() == "kvm" else "tcg"


def probe_kvm(kernel: Path, initial: bytes) -> str:
    """Boot a guest under KVM, whose agent must come to its end; "" or why it did not.

    The verdict is kept for `accelerator`. ``initial``: initial file system with the job "boot".
    Raises EnvironmentError_ when QEMU can't be started or the cache not be written.
    """
    if not os.access(KVM, os.R_OK | os.W_OK):
        return f"{KVM} can't be opened"
    with tempfile.TemporaryDirectory(prefix="attestbench-kvm-") as folder:
        workdir = Path(folder)
        initrd = workdir / "initrd"
        initrd.write_bytes(initial)
        guest = Guest(
            console=workdir / "console",
            results=workdir / "results",
            kernel=kernel,
            initrd=initrd,
            command_line="console=ttyS0 quiet panic=-1 rootfstype=ramfs",
            accelerator="kvm",
        )
        end = run_guest(guest, _PROBE_LIMIT_S)
    _keep("kvm" if end.status == "ok" else "tcg")
    return "" if end.status == "ok" else end.reason


def qemu_version() -> str:
    """Version of the installed QEMU, "" when there is none."""
    try:
        result = subprocess.run(
            [PROGRAM, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.partition("\n")[0].removeprefix("QEMU emulator version ")


def _recipe() -> cache.Recipe:
    return cache.Recipe("kvm", {"host": platform.release(), "qemu": qemu_version()})


def _keep(verdict: Accelerator) -> None:
    recipe = _recipe()

    def write(into: Path) -> None:
        (into / _VERDICT).write_text(verdict)

    cache.remove(cache.folder() / recipe.entry())
    cache.obtain(recipe, write)
