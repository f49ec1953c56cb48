"""The kernel source of the distribution, and the patch series on it."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.guest.tools import clean_environment, require, run
from harness.model.errors import EnvironmentError_

PACKAGE = "linux-source-6.1"
_TARBALL = Path("/usr/src/linux-source-6.1.tar.xz")
_TOUCHED = re.compile(r"^(?:---|\+\+\+) [ab]/(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class KernelSource:
    """A packed kernel tree (one top folder) and the version of the package it came in."""

    tarball: Path
    version: str

    def __str__(self) -> str:
        return f"{PACKAGE} {self.version}"


def debian_source() -> KernelSource:
    """The installed source package. Raises EnvironmentError_ when there is none."""
    try:
        version = run("the guest kernel", ["dpkg-query", "-W", "-f", "${Version}", PACKAGE])
    except EnvironmentError_:
        version = ""
    if not version or not _TARBALL.exists():
        raise EnvironmentError_(
            f"the guest kernel needs {PACKAGE}, a package of Debian 12: run `make setup` as root "
            f"there (apt-get install --no-install-recommends {PACKAGE}), or copy "
            "~/.cache/attestbench from a machine that has built the guest"
        )
    return KernelSource(_TARBALL, version)


def unpack(source: KernelSource, tree: Path) -> None:
    """Unpack the source into the new folder ``tree``."""
    require("the guest kernel", "tar", "xz")
    tree.mkdir()
    options = ["--strip-components=1", "--no-same-owner"]
    command: list[str | Path] = ["tar", "-xf", source.tarball, "-C", tree, *options]
    run(f"unpacking {source}", command)


def check_patches(source: KernelSource, tree: Path, patches: Sequence[Path], scratch: Path) -> None:
    """Apply the series to copies of the files it touches; the tree stays as it is.

    A plain dry run can't do this: each patch needs what the one before it did. Raises
    EnvironmentError_ naming the patch, the file and the version of the source.
    """
    touched = {name for patch in patches for name in _TOUCHED.findall(patch.read_text())}
    for name in sorted(touched):
        if not (scratch / name).resolve().is_relative_to(scratch.resolve()):
            raise EnvironmentError_(f"a kernel patch names {name}, a file outside the tree")
        if (tree / name).exists():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree / name, scratch / name)
    apply_patches(source, scratch, patches)


def apply_patches(source: KernelSource, tree: Path, patches: Sequence[Path]) -> None:
    """Apply the series; a hunk whose surroundings have changed is never guessed at."""
    require("the guest kernel", "patch")
    for patch in patches:
        command = ["patch", "-p1", "--fuzz=0", "--force", "--no-backup-if-mismatch"]
        done = subprocess.run(
            [*command, "-i", str(patch.resolve())],
            cwd=tree,
            env=clean_environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode != 0:
            said = _first_failure(done.stdout.decode(errors="replace"))
            raise EnvironmentError_(
                f"kernel patch {patch.name} does not apply to {source}: {said}; the series was "
                "written for another version of the package (harness/guest/kernel/README.md)"
            )


def _first_failure(output: str) -> str:
    """The first hunk or file that failed, with the file that it belongs to."""
    file = ""
    for line in output.splitlines():
        if line.startswith("patching file"):
            file = line.split(" ", 2)[2] + ": "
        elif "FAILED" in line or "can't find file" in line or "malformed" in line:
            return file + line
    return output.strip().splitlines()[-1] if output.strip() else "patch gave no reason"
