"""The guests' file systems: read-only erofs images, the same bytes for the same packages."""

import os
import platform
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.guest import packages
from harness.guest.cache import Progress, Recipe, digest_of, obtain
from harness.guest.selection import select
from harness.guest.tools import EPOCH, require, run

ROOT_UUID = "a77e57be-0c8a-4000-8000-000000000000"
CONTAINER_UUIDS: Mapping[str, str] = {
    "a": "a77e57be-0c8a-4000-8000-00000000000a",
    "b": "a77e57be-0c8a-4000-8000-00000000000b",
}
"""What an IMA policy calls ``fsuuid=``: it tells the containers' images apart."""

PACKAGES = (
    "apache2-utils",
    "busybox-static",
    "crun",
    "libc6-dev",
    "libtss2-tcti-device0",
    "lighttpd",
    "redis-server",
    "redis-tools",
    "sqlite3",
    "tcc",
    "tpm2-tools",
)
"""What the workloads inside a guest need: container runtime, applications, TPM tools."""

_FILES = (
    "usr/bin/ab",
    "usr/bin/busybox",
    "usr/bin/crun",
    "usr/bin/redis-benchmark",
    "usr/bin/redis-cli",
    "usr/bin/redis-server",
    "usr/bin/sqlite3",
    "usr/bin/tcc",
    "usr/bin/tpm2",
    "usr/bin/tpm2_*",
    "usr/include/*.h",
    "usr/include/asm-generic/*.h",
    "usr/include/linux/*.h",
    "usr/include/x86_64-linux-gnu/**/*.h",
    "usr/lib/x86_64-linux-gnu/crt[1in].o",
    "usr/lib/x86_64-linux-gnu/libc.so",
    "usr/lib/x86_64-linux-gnu/libc_nonshared.a",
    "usr/lib/x86_64-linux-gnu/libtss2-tcti-device.so.0",
    "usr/lib/x86_64-linux-gnu/tcc/**/*",
    "usr/lib64/ld-linux-x86-64.so.2",
    "usr/sbin/lighttpd",
)
_NVDIMM_UNIT = 1 << 21  # bytes; the kernel maps persistent memory in pages of 2 MiB
_TOP = ("bin", "lib", "lib64", "sbin")
_EMPTY = ("data", "dev", "etc", "mnt", "proc", "root", "run", "sys", "var/lib")
_WRITABLE = ("tmp", "var/tmp")
_TEXTS = {
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
}


def root(progress: Progress) -> Path:
    """The root image with all programs; ``packages.txt`` beside it says which versions.

    Raises EnvironmentError_ when it isn't cached and packages or tools can't be had.
    """
    what = {
        "distribution": platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown"),
        "packages": " ".join(PACKAGES),
        "files": " ".join(_FILES),
        "texts": repr(sorted(_TEXTS.items())),
        "folders": " ".join((*_TOP, *_EMPTY, *_WRITABLE)),
        "uuid": ROOT_UUID,
    }
    recipe = Recipe("image", what, revision=2)
    return obtain(recipe, lambda into: _build_root(into, progress), progress) / "root.erofs"


def containers(program: Path) -> dict[str, Path]:
    """Two container images by name: the same files in file systems that an IMA rule tells apart.

    Each has ``program`` as /bin/agent and, with other digests, as /bin/app1 to /bin/app3.
    """
    what = {"program": digest_of(program), **CONTAINER_UUIDS}
    recipe = Recipe("containers", what, revision=2)
    path = obtain(recipe, lambda into: _build_containers(into, program))
    return {name: path / f"{name}.erofs" for name in CONTAINER_UUIDS}


def write_erofs(tree: Path, target: Path, uuid: str) -> None:
    """An uncompressed image of a folder: sorted names, one time, everything root's, no xattrs.

    Padded so that it can be a guest's NVDIMM.
    """
    for path in (tree, *tree.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o1777 if str(path.relative_to(tree)) in _WRITABLE else 0o755)
        # mkfs.erofs 1.5 takes -T for a limit: older times stay as they are.
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    options = [f"-T{EPOCH}", f"-U{uuid}", "-x-1", "--all-root"]
    run("the guest's image", ["mkfs.erofs", "--quiet", *options, target, tree])
    os.truncate(target, -(-target.stat().st_size // _NVDIMM_UNIT) * _NVDIMM_UNIT)


def _build_root(into: Path, progress: Progress) -> None:
    require("the guest's image", "mkfs.erofs", "readelf")
    with tempfile.TemporaryDirectory(dir=into) as name:
        work = Path(name)
        progress("fetching the packages of the guest's image", None)
        files = packages.fetch(PACKAGES, work)
        progress("unpacking the packages of the guest's image", None)
        packages.unpack(files, work / "all")
        progress("writing the guest's image", None)
        tree = work / "tree"
        _lay_out(tree)
        select(work / "all", _FILES, tree)
        write_erofs(tree, into / "root.erofs", ROOT_UUID)
        listed = packages.versions(files)
    text = "".join(f"{package} {version}\n" for package, version in listed.items())
    (into / "packages.txt").write_text(text)


def _lay_out(tree: Path) -> None:
    """Folders, links into /usr and the few texts of /etc that programs ask for."""
    for name in _TOP:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for name in (*_EMPTY, *_WRITABLE):
        (tree / name).mkdir(parents=True)
    for name, text in _TEXTS.items():
        (tree / name).write_text(text)
        (tree / name).chmod(0o644)
    (tree / "bin/sh").symlink_to("busybox")


def _build_containers(into: Path, program: Path) -> None:
    require("the guest's container images", "mkfs.erofs")
    content = program.read_bytes()
    with tempfile.TemporaryDirectory(dir=into) as name:
        tree = Path(name) / "tree"
        for folder in ("bin", "data", "dev", "etc", "proc", "run", "sys", "tmp"):
            (tree / folder).mkdir(parents=True)
        # Bytes after a program's own don't change what it does, only what is measured.
        for path, tail in {"agent": b"", "app1": b"1", "app2": b"2", "app3": b"3"}.items():
            (tree / "bin" / path).write_bytes(content + tail)
            (tree / "bin" / path).chmod(0o755)
        (tree / "etc/conf").write_text("a file that containers open\n")
        (tree / "etc/conf").chmod(0o644)
        for image, uuid in CONTAINER_UUIDS.items():
            write_erofs(tree, into / f"{image}.erofs", uuid)
