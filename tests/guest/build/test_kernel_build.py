"""Two kernels from one tree, and every way in which that can fail, with a fake kernel."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.guest import kernel_source
from harness.guest.cache import silent
from harness.guest.kernel_build import KernelParts, build
from harness.model.errors import EnvironmentError_

from .conftest import Project


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def failure(project: Project) -> str:
    with pytest.raises(EnvironmentError_) as caught:
        build(project.source(), project.parts(), silent)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def complete(cache_home: Path) -> list[Path]:
    return list(cache_home.glob("kernels-*/manifest.json"))


def test_both_kernels_come_from_one_tree(cache_home: Path, project: Project) -> None:
    kernels = build(project.source(), project.parts(), silent)
    stock, namespaced = kernels.stock.read_text(), kernels.namespaced.read_text()
    assert stock.startswith("one\ntwo\n")
    assert "CONFIG_A=y" in stock
    assert "CONFIG_NS" not in stock
    assert namespaced.startswith("one\nTWO\n")
    assert "CONFIG_NS=y" in namespaced
    assert namespaced.endswith("stock\n")  # the objects of the stock kernel were there
    for kernel in (kernels.stock, kernels.namespaced):
        assert (kernel.parent / ".config").exists()
        assert (kernel.parent / "System.map").exists()


def test_tree_and_log_are_gone(cache_home: Path, project: Project) -> None:
    kernels = build(project.source(), project.parts(), silent)
    folder = kernels.stock.parents[1]
    assert {path.name for path in folder.iterdir()} == {"stock", "namespaced", "manifest.json"}
    assert not list(cache_home.glob("*.log"))


def test_a_second_build_only_looks(cache_home: Path, project: Project) -> None:
    source = project.source()
    first = build(source, project.parts(), silent)
    source.tarball.unlink()
    assert build(source, project.parts(), silent) == first


def test_every_input_counts(cache_home: Path, project: Project) -> None:
    found = {build(project.source(), project.parts(), silent)}
    found.add(build(project.source("6.1.1-fake"), project.parts(), silent))
    project.base("CONFIG_A=y\nCONFIG_B=y\n")
    found.add(build(project.source(), project.parts(), silent))
    project.patch("four", "FOUR", before="three", after="five")
    found.add(build(project.source(), project.parts(), silent))
    assert len(found) == 4


def test_a_series_applies_in_order(cache_home: Path, project: Project) -> None:
    project.patch("TWO", "2", before="one", after="three")
    kernels = build(project.source(), project.parts(), silent)
    assert kernels.namespaced.read_text().startswith("one\n2\n")


def test_a_patch_that_does_not_apply_is_named_before_anything_is_compiled(
    cache_home: Path, project: Project
) -> None:
    project.patch("nine", "ten", before="eight", after="eleven")
    said = failure(project)
    assert "kernel patch 0002-change.patch does not apply to linux-source-6.1 6.1.0-fake" in said
    assert "init/main.c: Hunk #1 FAILED" in said
    assert not list(cache_home.glob("*.log"))
    assert not complete(cache_home)


def test_a_patch_is_never_applied_by_guess(cache_home: Path, project: Project) -> None:
    project.main_c("one\ntwo\nTHREE\nfour\nfive\n")
    assert "does not apply" in failure(project)


@pytest.mark.parametrize("file", ["init/none.c", "../outside.c"])
def test_a_patch_of_a_file_that_is_not_there(cache_home: Path, project: Project, file: str) -> None:
    project.patch("two", "2", before="one", after="three", file=file)
    said = failure(project)
    assert "does not apply" in said or "a file outside the tree" in said


def test_a_dropped_line_is_named(cache_home: Path, project: Project) -> None:
    project.base("CONFIG_A=y\nCONFIG_DROPPED=y\n# CONFIG_C is not set\n")
    said = failure(project)
    assert "Kconfig of linux-source-6.1 6.1.0-fake dropped CONFIG_DROPPED=y (guest.config)" in said
    assert "CONFIG_A" not in said
    assert "CONFIG_C" not in said


def test_a_dropped_line_of_the_patched_kernel_is_named(cache_home: Path, project: Project) -> None:
    project.namespaced("CONFIG_NS_DROPPED=11\n")
    assert "CONFIG_NS_DROPPED=11 (namespaced.config)" in failure(project)


def test_a_compiler_error_is_one_line_with_the_log(cache_home: Path, project: Project) -> None:
    project.main_c("one\ntwo\nthree\nBROKEN\n")
    said = failure(project)
    [log] = cache_home.glob("kernels-*.log")
    assert "make bzImage of the guest kernel failed: init/main.c:1:1: error: no such thing" in said
    assert str(log) in said
    assert not complete(cache_home)


def test_a_missing_program_names_its_package(
    cache_home: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project.source()
    present = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name: None if name in ("bc", "ld") else present(name)
    )
    with pytest.raises(EnvironmentError_) as caught:
        build(source, project.parts(), silent)
    assert "needs ld, bc: run `make setup`" in str(caught.value)
    assert "apt-get install --no-install-recommends bc build-essential" in str(caught.value)


def test_a_full_disk_is_said_before_it_is_full(
    cache_home: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = Usage(10**9, 10**9, 5 * 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert "takes 2.5 GB" in failure(project)


def test_a_make_around_us_does_not_reach_the_build(
    cache_home: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKEFLAGS", "k -- O=elsewhere")
    monkeypatch.setenv("KCFLAGS", "-g")
    kernels = build(project.source(), project.parts(), silent)
    flags = (kernels.stock.parent / "System.map").read_text()
    assert "elsewhere" not in flags
    assert "LOCALVERSION=" in flags


def test_no_series_is_an_error(cache_home: Path, project: Project) -> None:
    parts = project.parts()
    with pytest.raises(EnvironmentError_, match="no patched kernel"):
        build(project.source(), KernelParts(parts.base, parts.namespaced, ()), silent)


def test_no_source_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_source, "_TARBALL", tmp_path / "none")
    with pytest.raises(EnvironmentError_, match=r"needs linux-source-6.1, a package of Debian 12"):
        kernel_source.debian_source()


SLOW = """
import sys
from pathlib import Path
from harness.guest.kernel_build import KernelParts, build
from harness.guest.kernel_source import KernelSource

tarball, base, namespaced, patch = map(Path, sys.argv[1:])
build(
    KernelSource(tarball, "6.1.0-fake"),
    KernelParts(base, namespaced, (patch,)),
    lambda what, share: print(what, flush=True),
)
"""


def test_an_interrupt_ends_the_compilers(cache_home: Path, project: Project) -> None:
    project.main_c("one\ntwo\nthree\nSLOW\n")
    source, parts = project.source(), project.parts()
    files = [source.tarball, parts.base, parts.namespaced, *parts.patches]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *map(str, files)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    for line in process.stdout:
        if line.startswith("compiling"):
            break
    make = children_of(process.pid)
    assert make
    process.send_signal(2)
    process.wait(timeout=20)
    process.stdout.close()
    assert not any(Path(f"/proc/{child}").exists() for child in make)
    assert not complete(cache_home)
    assert not list(cache_home.glob(".kernels-*"))


def children_of(parent: int) -> list[int]:
    """Process ids below ``parent``, as soon as there are any."""
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        listed = subprocess.run(
            ["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False
        ).stdout.split()
        if listed:
            return [int(number) for number in listed]
        time.sleep(0.01)
    return []
