"""What a session ran on: hardware, kernel, versions, source. No names, paths or times."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

import harness
from harness.run.machine import cpu_model, fingerprint, memory_bytes, read_text, usable_cpus

_PYTHON_PACKAGES = ("msgspec", "numpy", "pandas", "scipy", "tpm2-pytss", "cryptography", "cbor2")
_SYSTEM_PACKAGES = (
    "swtpm",
    "swtpm-tools",
    "swtpm-libs",
    "libtpms0",
    "libtpms",
    "libtss2-*",
    "tpm2-tss",
    "tpm2-tools",
    "openssl",
    "openssl-libs",
    "libssl3*",
    "crun",
    "qemu-system-x86",
    "qemu-system-x86-core",
    "ovmf",
    "edk2-ovmf",
)
_LIBRARIES = ("libtpms.so", "libtss2-esys.so", "libcrypto.so")
_SYS = Path("/sys")


def collect_provenance(backend_name: str, backend: dict[str, object]) -> dict[str, object]:
    """Provenance of this session; ``backend``: what the backend says of itself."""
    merged: dict[str, object] = {"emulated": [], "isolation": "none", **backend}
    own_versions = backend.get("versions")
    return {
        **merged,
        "backend": backend_name,
        "host": host_facts(),
        "versions": versions() | (own_versions if isinstance(own_versions, dict) else {}),
        "git": git_state(Path(harness.__file__).resolve().parents[1]),
    }


def host_facts() -> dict[str, object]:
    """CPU, memory, kernel and what bears on timing; the host's name only inside a hash."""
    cpufreq = _SYS / "devices/system/cpu/cpu0/cpufreq"
    return {
        "machine": fingerprint(),
        "cpu": cpu_model(),
        "cpus_usable": usable_cpus(),
        "cpus": os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "kernel": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "governor": read_text(cpufreq / "scaling_governor"),
        "turbo_off": read_text(_SYS / "devices/system/cpu/intel_pstate/no_turbo"),
        "smt": read_text(_SYS / "devices/system/cpu/smt/active"),
        "clocksource": read_text(
            _SYS / "devices/system/clocksource/clocksource0/current_clocksource"
        ),
        "hypervisor": read_text(_SYS / "hypervisor/type"),
    }


def versions() -> dict[str, str]:
    """Versions of Python, its packages and the system's TPM software; missing ones left out."""
    found = {"python": platform.python_version(), "attestbench": own_version()}
    for name in _PYTHON_PACKAGES:
        try:
            found[f"python/{name}"] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | _system_versions()


def own_version() -> str:
    """Version of attestbench, also when it runs from its source without being installed."""
    try:
        return importlib.metadata.version("attestbench")
    except importlib.metadata.PackageNotFoundError:
        import tomllib

        project = Path(harness.__file__).resolve().parents[1] / "pyproject.toml"
        text = read_text(project)
        return str(tomllib.loads(text)["project"]["version"]) if text else "unknown"


def _system_versions() -> dict[str, str]:
    if shutil.which("dpkg-query"):
        form = "${db:Status-Status} ${binary:Package} ${Version}\n"
        lines = _run("dpkg-query", "-W", "-f", form, *_SYSTEM_PACKAGES).splitlines()
        rows = [line.split() for line in lines]
        return {row[1].split(":")[0]: row[2] for row in rows if row[:1] == ["installed"]}
    if shutil.which("rpm"):
        form = "%{NAME} %{VERSION}-%{RELEASE}\n"
        rows = [
            line.split() for line in _run("rpm", "-q", "--qf", form, *_SYSTEM_PACKAGES).splitlines()
        ]
        return {row[0]: row[1] for row in rows if len(row) == 2}
    return _library_versions()


def _library_versions() -> dict[str, str]:
    """Without a package manager: file names of the libraries, and what swtpm says."""
    found = {}
    for line in _run("ldconfig", "-p").splitlines():
        name, _, target = line.strip().partition(" ")
        if name.startswith(_LIBRARIES) and "=> " in target:
            found[name] = Path(target.split("=> ")[1]).resolve().name
    swtpm = _run("swtpm", "--version").splitlines()
    return found | ({"swtpm": swtpm[0].strip()} if swtpm else {})


def git_state(root: Path) -> dict[str, object]:
    """Commit of the source and whether it was changed; {} when it is no checkout."""
    if not (root / ".git").exists():
        return {}
    commit = _run("git", "-C", str(root), "rev-parse", "HEAD").strip()
    changes = _run("git", "-C", str(root), "status", "--porcelain")
    return {"commit": commit, "dirty": bool(changes.strip())} if commit else {}


def _run(*command: str) -> str:
    """Output of a program, "" when it is missing or hangs; some exit non-zero for partial lists."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout
