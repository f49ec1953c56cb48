"""Builds the two guest kernels, stock and with measurement domains, from one source tree."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.guest.cache import Progress, Recipe, digest_of, folder, obtain
from harness.guest.kernel_config import check_stuck
from harness.guest.kernel_source import (
    KernelSource,
    apply_patches,
    check_patches,
    debian_source,
    unpack,
)
from harness.guest.tools import clean_environment, require, run
from harness.model.errors import EnvironmentError_

_HERE = Path(__file__).parent / "kernel"
_SPACE = 2_500_000_000  # bytes that the tree and the objects of one build take
_STEPS = 1900  # lines that `make` prints for the stock kernel; only the progress needs it
_NEEDS = ("gcc", "ld", "make", "bc", "bison", "flex", "tar", "xz", "patch")
_ERROR = re.compile(r"error:|undefined reference|\*\*\*|No such file")
_NAMES = {
    # Who built it, when and the how manieth time would make each build differ.
    "KBUILD_BUILD_TIMESTAMP": "2026-01-01 00:00:00 UTC",
    "KBUILD_BUILD_USER": "attestbench",
    "KBUILD_BUILD_HOST": "attestbench",
    "KBUILD_BUILD_VERSION": "1",
}


@dataclass(frozen=True)
class Kernels:
    """The two bzImages; ``.config`` and ``System.map`` lie beside each."""

    stock: Path
    namespaced: Path


@dataclass(frozen=True)
class KernelParts:
    """What the project adds to a kernel source: fragments and patches, in order."""

    base: Path = _HERE / "guest.config"
    namespaced: Path = _HERE / "namespaced.config"
    patches: tuple[Path, ...] = tuple(sorted((_HERE / "patches").glob("*.patch")))


def kernels_recipe(source: KernelSource, parts: KernelParts) -> Recipe:
    """Everything that decides the two kernels."""
    require("the guest kernel", *_NEEDS)
    files = (parts.base, parts.namespaced, *parts.patches)
    tools = {tool: run("the guest kernel", [tool, "--version"]) for tool in ("gcc", "ld")}
    return Recipe(
        "kernels",
        {
            "source": str(source),
            **{name: text.splitlines()[0] for name, text in tools.items()},
            **{file.name: digest_of(file) for file in files},
            **_NAMES,
        },
    )


def build(source: KernelSource, parts: KernelParts, progress: Progress) -> Kernels:
    """Both kernels from the cache, or built into it: about 18 CPU minutes.

    Raises EnvironmentError_: a program or space is missing, a patch does not apply, an option
    was dropped, or the compiler failed.
    """
    if not parts.patches:
        raise EnvironmentError_("harness/guest/kernel/patches is empty: no patched kernel to build")
    recipe = kernels_recipe(source, parts)
    log = folder() / f"{recipe.entry()}.log"
    path = obtain(recipe, lambda into: _build(source, parts, into, log, progress), progress)
    return Kernels(path / "stock" / "bzImage", path / "namespaced" / "bzImage")


def installed_kernels(progress: Progress) -> Kernels:
    """The kernels of the installed source package and this package's series."""
    return build(debian_source(), KernelParts(), progress)


def _build(
    source: KernelSource, parts: KernelParts, into: Path, log: Path, progress: Progress
) -> None:
    _check_space(into)
    log.unlink(missing_ok=True)
    work = into / "work"
    tree = work / "tree"
    work.mkdir()
    progress(f"unpacking {source}", None)
    unpack(source, tree)
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        check_patches(source, tree, parts.patches, Path(scratch))

    make = _Make(tree, log)
    make.configure(source, [parts.base])
    make.kernel("stock kernel", progress)
    make.take(into / "stock")

    # The same tree and the same objects: what differs between the kernels is the series alone.
    apply_patches(source, tree, parts.patches)
    make.configure(source, [parts.base, parts.namespaced])
    make.kernel("kernel with measurement domains", progress)
    make.take(into / "namespaced")
    progress("removing the source tree", None)
    shutil.rmtree(work)
    log.unlink()


def _check_space(path: Path) -> None:
    free = shutil.disk_usage(path).free
    if free < _SPACE:
        raise EnvironmentError_(
            f"building the guest kernels takes {_SPACE / 1e9:.1f} GB in {path.parent} and "
            f"{free / 1e9:.1f} GB are free: free some space or set XDG_CACHE_HOME"
        )


@dataclass(frozen=True)
class _Make:
    """`make` in one tree. The objects lie inside the tree: then no path of it gets into them."""

    tree: Path
    log: Path

    @property
    def objects(self) -> Path:
        return self.tree / "objects"

    def configure(self, source: KernelSource, fragments: Sequence[Path]) -> None:
        config = self.objects / ".config"
        self._run("tinyconfig")
        with config.open("a") as file:
            file.writelines(fragment.read_text() + "\n" for fragment in fragments)
        self._run("olddefconfig")
        check_stuck(source, config, fragments)

    def kernel(self, what: str, progress: Progress) -> None:
        progress(f"compiling the {what}", 0.0)
        done = 0
        for line in self._lines(f"-j{len(os.sched_getaffinity(0))}", "bzImage"):
            done += line.startswith("  ")
            if done % 10 == 0:
                progress(f"compiling the {what}", min(done / _STEPS, 0.99))

    def take(self, into: Path) -> None:
        into.mkdir()
        shutil.copyfile(self.objects / "arch/x86/boot/bzImage", into / "bzImage")
        for name in (".config", "System.map"):
            shutil.copyfile(self.objects / name, into / name)

    def _run(self, target: str) -> None:
        for _line in self._lines(target):
            pass

    def _lines(self, *targets: str) -> Iterator[str]:
        """Output of `make`, line by line, also into the log."""
        command = ["make", "O=objects", "LOCALVERSION=", *targets]
        cause = ""
        with self.log.open("a", buffering=1) as log, _started(command, self.tree) as process:
            assert process.stdout
            for line in process.stdout:
                log.write(line)
                cause = cause or (line.strip() if _ERROR.search(line) else "")
                yield line
        if process.returncode != 0:
            cause = cause or f"make ended with {process.returncode}"
            raise EnvironmentError_(
                f"make {targets[-1]} of the guest kernel failed: {cause} (all of it: {self.log})"
            )


@contextlib.contextmanager
def _started(command: Sequence[str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A `make` that has ended when the block is left; an exception ends its compilers, too."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=clean_environment(_NAMES),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        process.wait()
