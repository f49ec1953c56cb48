"""What this machine is, without telling its name."""

import hashlib
import os
import platform
from pathlib import Path

_PROC = Path("/proc")
_ETC = Path("/etc")


def read_text(path: Path) -> str | None:
    """Content of a small system file, stripped; None where it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def fingerprint(etc: Path = _ETC, proc: Path = _PROC) -> str:
    """Hash that is the same on one machine and differs between machines.

    From /etc/machine-id, or else from CPU model and host name.
    """
    identity = read_text(etc / "machine-id")
    if not identity or identity == "uninitialized":
        identity = f"{cpu_model(proc)}\0{platform.node()}"
    return hashlib.sha256(b"attestbench machine v1\0" + identity.encode()).hexdigest()


def cpu_model(proc: Path = _PROC) -> str:
    """The CPU's name from /proc/cpuinfo, or its architecture."""
    for line in (read_text(proc / "cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return platform.machine()


def usable_cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def memory_bytes(proc: Path = _PROC) -> int | None:
    """Memory of the machine."""
    for line in (read_text(proc / "meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None
