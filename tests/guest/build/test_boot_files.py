"""Initial file system, unified kernel image and EFI partition: read back by other programs."""

import subprocess
import time
from pathlib import Path

import pytest

from harness.guest import esp, initrd, tools, uki
from harness.model.errors import EnvironmentError_, InputError

INIT = b"\x7fELF of the agent"


def listed(archive: bytes) -> list[str]:
    done = subprocess.run(
        ["busybox", "cpio", "-tv"], input=archive, capture_output=True, check=True
    )
    return done.stdout.decode().splitlines()


def unpacked(archive: bytes, folder: Path) -> None:
    command = ["cpio", "--extract", "--quiet", "--make-directories", "--nonmatching", "dev/*"]
    subprocess.run(command, input=archive, cwd=folder, check=True)


def test_initrd_holds_init_console_and_files(tmp_path: Path) -> None:
    archive = initrd.archive(INIT, {"job": b"boot\n", "a/b/policy": b"measure\n"})
    unpacked(archive, tmp_path)
    assert (tmp_path / "init").read_bytes() == INIT
    assert (tmp_path / "init").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "job").read_bytes() == b"boot\n"
    assert (tmp_path / "a/b/policy").read_bytes() == b"measure\n"
    lines = "\n".join(listed(archive))
    assert "dev/console" in lines
    assert "crw-------" in lines


def test_initrd_is_the_same_for_the_same_files() -> None:
    files = {"job": b"1", "policy": b"2", "b/c": b"3"}
    backwards = dict(reversed(files.items()))
    assert initrd.archive(INIT, files) == initrd.archive(INIT, backwards)
    assert initrd.archive(INIT, files) != initrd.archive(INIT, {**files, "job": b"2"})


def test_a_folder_comes_before_what_it_holds() -> None:
    names = [line.split()[-1] for line in listed(initrd.archive(INIT, {"a/b/c": b"", "a.x": b""}))]
    assert names.index("a") < names.index("a/b") < names.index("a/b/c")


@pytest.mark.parametrize("name", ["", ".", "/job", "../job", "a//b", "a/../b", "init", "x" * 256])
def test_initrd_refuses_a_path_that_is_not_plain(name: str) -> None:
    with pytest.raises(InputError, match="not a plain relative path"):
        initrd.archive(INIT, {name: b""})


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "bzImage"
    path.write_bytes(b"MZ" + bytes(range(256)) * 40)
    return path


def section(image: bytes, name: str, folder: Path) -> bytes:
    (folder / "uki").write_bytes(image)
    part = folder / "part"
    command = ["objcopy", "-O", "binary", f"--only-section={name}", str(folder / "uki"), str(part)]
    subprocess.run(command, check=True)
    return part.read_bytes()


def test_uki_holds_each_part_as_it_is(kernel: Path, tmp_path: Path) -> None:
    image = uki.image(kernel, b"archive", "console=ttyS0 quiet")
    assert section(image, ".linux", tmp_path) == kernel.read_bytes()
    assert section(image, ".initrd", tmp_path) == b"archive"
    assert section(image, ".cmdline", tmp_path) == b"console=ttyS0 quiet\0"
    assert b"ID=attestbench\n" in section(image, ".osrel", tmp_path)


def test_uki_and_esp_are_the_same_at_another_time(
    kernel: Path, cache_home: Path, tmp_path: Path
) -> None:
    images, partitions = set(), set()
    for cache in ("one", "two"):
        image = uki.image(kernel, b"archive", "quiet")
        images.add(image)
        into = tmp_path / cache
        into.mkdir()
        esp._write(image, into)
        partitions.add((into / "esp.img").read_bytes())
        time.sleep(2.1)  # FAT's times have two seconds
    assert len(images) == 1
    assert len(partitions) == 1


def test_esp_starts_the_program(cache_home: Path, tmp_path: Path) -> None:
    program = bytes(3_000_000)
    partition = esp.build(program)
    assert partition == esp.build(program)
    assert partition != esp.build(program + b"\0")
    out = tmp_path / "out.efi"
    subprocess.run(["mcopy", "-i", partition, "::/EFI/BOOT/BOOTX64.EFI", out], check=True)
    assert out.read_bytes() == program


def test_a_missing_stub_names_its_package(
    kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uki, "EFI_STUB", tmp_path / "none.stub")
    with pytest.raises(EnvironmentError_, match=r"a unified kernel image needs .*none\.stub"):
        uki.image(kernel, b"", "")
    assert tools._PACKAGES[str(tools.EFI_STUB)] == "systemd-boot-efi"
