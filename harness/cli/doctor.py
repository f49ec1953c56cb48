"""`attestbench doctor`: what this machine can run, what is missing and how to get it."""

import ctypes.util
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from harness.cli.common import json_option, print_json, text_table
from harness.run.machine import cpu_model, memory_bytes, read_text, usable_cpus
from harness.run.provenance import own_version

_DEV = Path("/dev")
_PROC = Path("/proc")
_SYS = Path("/sys")


class Need(NamedTuple):
    """Something a backend needs. ``apt``/``dnf``: the packages that bring it."""

    name: str
    present: Callable[[], bool]
    apt: str
    dnf: str
    optional: str = ""


class Finding(msgspec.Struct):
    """A need, and whether it is met. ``optional``: what is lost without it, "" if it must be."""

    backend: str
    name: str
    found: bool
    optional: str
    apt: str
    dnf: str


class Examination(msgspec.Struct):
    """All that `doctor --json` prints. ``backends``: whether each has all that it must have."""

    version: str
    host: dict[str, str]
    backends: dict[str, bool]
    findings: list[Finding]


def _program(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name) is not None


def _any_program(*names: str) -> Callable[[], bool]:
    return lambda: any(shutil.which(name) for name in names)


def _library(name: str) -> Callable[[], bool]:
    return lambda: ctypes.util.find_library(name) is not None


def _module(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


def _device(name: str) -> Callable[[], bool]:
    return lambda: os.access(_DEV / name, os.R_OK | os.W_OK)


_TOOLS = "commands of the tutorial and checks by a second program"
_ISOLATION = "the vTPM service then runs without namespaces of its own"
_UEFI = "guests then can't attest themselves"
_BUILD = "(attestbench guest build)"
_PROBE = "(attestbench doctor --probe-kvm)"


def _kernels_built() -> bool:
    from harness.guest import cache

    return any(entry.path.name.startswith("kernels-") for entry in cache.entries())


def _firmware_found() -> bool:
    from harness.guest.machine.firmware import installed_firmware

    return installed_firmware() is not None


def _kvm_boots() -> bool:
    from harness.guest.machine.accelerator import accelerator

    return accelerator() == "kvm"


NEEDS: dict[str, tuple[Need, ...]] = {
    "fake": (),
    "process": (
        Need("swtpm", _program("swtpm"), "swtpm", "swtpm"),
        Need("swtpm_setup", _program("swtpm_setup"), "swtpm-tools", "swtpm-tools"),
        Need("libtpms", _library("tpms"), "libtpms-dev", "libtpms-devel"),
        Need("libtss2-esys", _library("tss2-esys"), "libtss2-dev", "tpm2-tss-devel"),
        Need("tpm2-pytss", _module("tpm2_pytss"), "(pip: tpm2-pytss)", "(pip: tpm2-pytss)"),
        Need("openssl", _program("openssl"), "openssl", "openssl", _TOOLS),
        Need("tpm2-tools", _program("tpm2_quote"), "tpm2-tools", "tpm2-tools", _TOOLS),
        Need("OCI runtime", _any_program("crun", "runc"), "runc", "runc", _ISOLATION),
        Need(
            "compiled channel",
            _module("harness.framework.vtpm._native"),
            "(make setup)",
            "(make setup)",
        ),
        Need(
            "compiled replay",
            _module("harness.framework.evidence._native"),
            "(make setup)",
            "(make setup)",
        ),
    ),
    "qemu": (
        Need(
            "qemu-system-x86_64",
            _program("qemu-system-x86_64"),
            "qemu-system-x86",
            "qemu-system-x86-core",
        ),
        Need("kernels and agent", _kernels_built, _BUILD, _BUILD, "built at the first run"),
        Need("UEFI firmware", _firmware_found, "ovmf", "edk2-ovmf", _UEFI),
        Need("swtpm", _program("swtpm"), "swtpm", "swtpm", _UEFI),
        Need("fsck.erofs", _program("fsck.erofs"), "erofs-utils", "erofs-utils", _UEFI),
        Need("KVM that boots a guest", _kvm_boots, _PROBE, _PROBE, "guests run under TCG"),
    ),
    "kata": (
        Need("kata-runtime", _program("kata-runtime"), "(kata-containers)", "kata-containers"),
        Need("containerd", _program("containerd"), "containerd", "containerd"),
        Need("/dev/kvm", _device("kvm"), "(BIOS, kvm module)", "(BIOS, kvm module)"),
    ),
}


@click.command()
@click.option("--probe-kvm", is_flag=True, help="Boot a guest under KVM (15 s) and remember it.")
@json_option
def doctor(probe_kvm: bool, as_json: bool) -> None:
    """Show what this machine can run, and what is missing."""
    if probe_kvm:
        _probe_kvm()
    found = examine()
    if as_json:
        print_json(found)
        return
    click.echo(f"attestbench {found.version}")
    for name, value in found.host.items():
        click.echo(f"{name:<12} {value}")
    click.echo("")
    rows = [
        (one.backend, one.name, _verdict(one), "" if one.found else f"{one.apt} | {one.dnf}")
        for one in found.findings
    ]
    click.echo(text_table(("backend", "needs", "", "apt | dnf package"), rows))
    click.echo("")
    for backend, ready in found.backends.items():
        click.echo(f"{backend:<8} {'ready' if ready else 'not ready'}")
    _print_install(found)


def _probe_kvm() -> None:
    """Try KVM with the stock kernel, built if it must be; say on standard error how it went."""
    from harness.guest import build
    from harness.guest.machine import accelerator

    click.echo("booting a guest under KVM", err=True)
    initial = build.build_initrd({"job": b"boot\n"})
    reason = accelerator.probe_kvm(build.build_kernels().stock, initial)
    verdict = f"no guest boots under KVM: {reason}" if reason else "a guest booted under KVM"
    click.echo(verdict, err=True)


def examine() -> Examination:
    """Look at the machine; changes nothing."""
    findings = [
        Finding(backend, need.name, need.present(), need.optional, need.apt, need.dnf)
        for backend, needs in NEEDS.items()
        for need in needs
    ]
    backends = {
        backend: all(one.found or one.optional for one in findings if one.backend == backend)
        for backend in NEEDS
    }
    return Examination(own_version(), _host(), backends, findings)


def _host() -> dict[str, str]:
    memory = memory_bytes()
    governor = read_text(_SYS / "devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return {
        "cpu": f"{cpu_model()}, {usable_cpus()} usable",
        "memory": f"{memory / 2**30:.1f} GiB" if memory else "unknown",
        "kernel": f"{platform.system()} {platform.release()}",
        "governor": governor or "not readable",
        "load": (read_text(_PROC / "loadavg") or "not readable").split(" ")[0],
        "tpm": _devices("tpmrm0", "tpm0"),
        "tee host": _devices("sev", "csv", "sgx_enclave"),
        "tee guest": _devices("sev-guest", "csv-guest", "tdx_guest"),
    }


def _devices(*names: str) -> str:
    present = [str(_DEV / name) for name in names if (_DEV / name).exists()]
    return ", ".join(present) or "none (emulated where a scenario needs it)"


def _verdict(one: Finding) -> str:
    if one.found:
        return "found"
    return f"missing, optional: {one.optional}" if one.optional else "MISSING"


def _print_install(found: Examination) -> None:
    """Say how to get what the process backend lacks: it is the one `make bench` uses."""
    missing = [one for one in found.findings if one.backend == "process" and not one.found]
    apt = " ".join(dict.fromkeys(one.apt for one in missing if not one.apt.startswith("(")))
    dnf = " ".join(dict.fromkeys(one.dnf for one in missing if not one.dnf.startswith("(")))
    if apt:
        click.echo(f"\nget the process backend's packages: apt-get install {apt}")
        click.echo(f"                                    dnf install {dnf}")
