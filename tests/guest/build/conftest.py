"""A cache of its own for each test that builds, and a kernel tree that builds in milliseconds."""

import tarfile
from pathlib import Path

import pytest

from harness.guest.kernel_build import KernelParts
from harness.guest.kernel_source import KernelSource

# Stands for Kconfig and kbuild: it drops lines that say DROPPED, and "compiles" by copying.
MAKEFILE = """\
tinyconfig:
\t@mkdir -p $(O)
\t@echo '# CONFIG_TINY is not set' > $(O)/.config
olddefconfig:
\t@grep -v DROPPED $(O)/.config > $(O)/kept; mv $(O)/kept $(O)/.config
bzImage:
\t@echo "  CC      init/main.o"
\t@if grep -q BROKEN init/main.c; then echo "init/main.c:1:1: error: no such thing"; exit 1; fi
\t@if grep -q SLOW init/main.c; then sleep 60; fi
\t@mkdir -p $(O)/arch/x86/boot $(O)/made
\t@echo "$(MAKEFLAGS)" > $(O)/System.map
\t@ls $(O)/made | cat init/main.c $(O)/.config - > $(O)/arch/x86/boot/bzImage
\t@touch $(O)/made/stock
"""


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home / "attestbench" / "guest"


class Project:
    """What the project adds to the fake kernel; every part can be changed before the build."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._main = "one\ntwo\nthree\nfour\nfive\n"
        self._patches: list[Path] = []
        folder.mkdir()
        (folder / "patches").mkdir()
        self.base("CONFIG_A=y\n")
        self.namespaced("CONFIG_NS=y\n")

    def base(self, text: str) -> None:
        (self._folder / "guest.config").write_text(text)

    def namespaced(self, text: str) -> None:
        (self._folder / "namespaced.config").write_text(text)

    def main_c(self, text: str) -> None:
        self._main = text

    def patch(
        self, old: str, new: str, *, before: str, after: str, file: str = "init/main.c"
    ) -> None:
        """Add a patch that replaces the line ``old`` between two others."""
        path = self._folder / "patches" / f"{len(self._patches) + 1:04}-change.patch"
        path.write_text(
            f"Change a line\n---\n--- a/{file}\n+++ b/{file}\n@@ -1,3 +1,3 @@\n"
            f" {before}\n-{old}\n+{new}\n {after}\n"
        )
        self._patches.append(path)

    def parts(self) -> KernelParts:
        return KernelParts(
            self._folder / "guest.config", self._folder / "namespaced.config", tuple(self._patches)
        )

    def source(self, version: str = "6.1.0-fake") -> KernelSource:
        tree = self._folder / "linux"
        (tree / "init").mkdir(parents=True, exist_ok=True)
        (tree / "Makefile").write_text(MAKEFILE)
        (tree / "init/main.c").write_text(self._main)
        tarball = self._folder / "linux.tar.xz"
        with tarfile.open(tarball, "w:xz") as archive:
            archive.add(tree, arcname="linux-source-6.1")
        return KernelSource(tarball, version)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    made.patch("two", "TWO", before="one", after="three")
    return made
