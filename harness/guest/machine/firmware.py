"""Where distributions keep UEFI firmware for QEMU."""

from pathlib import Path
from typing import NamedTuple

from harness.model.errors import EnvironmentError_

# Debian's 4 MiB build; the same in Fedora and its relatives.
_CANDIDATES = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
)


class Installed(NamedTuple):
    """Firmware as its package brings it: the code, and variables to copy for each guest."""

    code: Path
    variables: Path


def installed_firmware() -> Installed | None:
    """The first firmware that is there, or None."""
    for code, variables in _CANDIDATES:
        if Path(code).exists() and Path(variables).exists():
            return Installed(Path(code), Path(variables))
    return None


def require_firmware() -> Installed:
    """The firmware. Raises EnvironmentError_ when none is installed."""
    found = installed_firmware()
    if found is None:
        raise EnvironmentError_(
            "no UEFI firmware for QEMU; get it with `apt-get install ovmf` "
            "or `dnf install edk2-ovmf`"
        )
    return found
