"""Packages of the distribution, fetched and unpacked into a folder without installing them.

No maintainer script runs: neither root nor a changed root folder is needed, and nothing of the
machine that builds gets in. apt checks every package's signature chain as for an installation.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.guest.tools import clean_environment, require, run
from harness.model.errors import EnvironmentError_

_WHAT = "the guest's packages"
_TOP = ("bin", "lib", "lib64", "sbin")


def fetch(names: Sequence[str], work: Path) -> list[Path]:
    """Download packages with all that they depend on into ``work``, as for an empty machine.

    The lists are fetched anew: old ones name versions that the archive has already replaced.
    Raises EnvironmentError_ with apt's last line.
    """
    require(_WHAT, "apt-get")
    (work / "state/lists/partial").mkdir(parents=True)
    (work / "cache/partial").mkdir(parents=True)
    (work / "state/status").touch()
    apt = ["apt-get", "-qq", *_options(work)]
    run(f"{_WHAT} (is the package archive reachable?)", [*apt, "update"])
    run(
        f"{_WHAT} (is the package archive reachable?)",
        [*apt, "--yes", "--no-install-recommends", "--download-only", "install", *names],
    )
    return sorted((work / "cache").glob("*.deb"))


def unpack(packages: Sequence[Path], tree: Path) -> None:
    """Unpack packages into the new folder ``tree``, with /bin, /lib and /sbin links into /usr."""
    require(_WHAT, "dpkg-deb", "tar")
    for name in _TOP:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for package in packages:
        _unpack_one(package, tree)


def versions(packages: Sequence[Path]) -> dict[str, str]:
    """Name → version of each package file."""
    show = ["dpkg-deb", "--show", "--showformat=${Package} ${Version}\n"]
    lines = [run(_WHAT, [*show, package]).split() for package in packages]
    return dict(sorted(lines))


def _options(work: Path) -> list[str]:
    """Settings that keep apt away from the machine's own state."""
    settings = {
        "Dir::State": work / "state",
        "Dir::State::status": work / "state/status",
        "Dir::Cache": work / "cache",
        "Dir::Cache::archives": work / "cache",
        "Debug::NoLocking": 1,
        # The folder belongs to whoever builds; apt's own user can't write there.
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _unpack_one(package: Path, tree: Path) -> None:
    command = ["tar", "-xp", "--keep-directory-symlink", "--no-same-owner", "-C", str(tree)]
    environment = clean_environment({})
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE, env=environment
    ) as source:
        done = subprocess.run(
            command, stdin=source.stdout, env=environment, capture_output=True, check=False
        )
    if source.returncode != 0 or done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else "damaged package"
        raise EnvironmentError_(f"{_WHAT}: cannot unpack {package.name}: {reason}")
