"""Programs that a build uses: which package brings one, and its failure as one line."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.model.errors import EnvironmentError_

EPOCH = 1767225600
"""Time of everything built, in seconds: 2026-01-01 00:00 UTC. No build depends on the clock."""

EFI_STUB = Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")

_PACKAGES = {
    "apt-get": "apt",
    "bc": "bc",
    "bison": "bison",
    "dpkg-deb": "dpkg",
    "dpkg-query": "dpkg",
    "flex": "flex",
    "gcc": "build-essential",
    "ld": "build-essential",
    "make": "build-essential",
    "mcopy": "mtools",
    "mformat": "mtools",
    "mkfs.erofs": "erofs-utils",
    "mmd": "mtools",
    "musl-gcc": "musl-tools",
    "objcopy": "build-essential",
    "objdump": "build-essential",
    "readelf": "build-essential",
    "patch": "patch",
    "tar": "tar",
    "xz": "xz-utils",
    str(EFI_STUB): "systemd-boot-efi",
}


def require(what: str, *needs: str | Path) -> None:
    """Check that programs (by name) and files (by path) are there.

    Raises EnvironmentError_ naming every one that is missing and the packages that bring them.
    """
    missing = [str(need) for need in needs if not _present(need)]
    if missing:
        packages = " ".join(sorted({_PACKAGES.get(name, name) for name in missing}))
        raise EnvironmentError_(
            f"{what} needs {', '.join(missing)}: run `make setup` as root "
            f"(Debian 12: apt-get install --no-install-recommends {packages})"
        )


def run(
    what: str,
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Output of a program that must succeed; ``env`` is added to a clean environment.

    Raises EnvironmentError_ with the program's first error or else the last line it said.
    """
    require(what, command[0])
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean_environment(env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        reasons = [line for line in said if "error:" in line] or said[-1:]
        reason = reasons[0] if reasons else f"ended with {done.returncode}"
        raise EnvironmentError_(f"{what}: {command[0]} failed: {reason}")
    return done.stdout.decode(errors="replace")


def clean_environment(added: Mapping[str, str]) -> dict[str, str]:
    """What decides a build and nothing else: no locale, no flags of a `make` around us."""
    kept = ("PATH", "HOME", "TMPDIR", "http_proxy", "https_proxy", "no_proxy")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return {**inherited, "LC_ALL": "C", "TZ": "UTC", "SOURCE_DATE_EPOCH": str(EPOCH), **added}


def _present(need: str | Path) -> bool:
    return need.exists() if isinstance(need, Path) else shutil.which(need) is not None
