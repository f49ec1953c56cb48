"""QEMU's command line: what decides whether guests can be compared."""

from pathlib import Path

import pytest

from harness.guest.machine import ControlPort, Guest, qemu_command
from harness.guest.machine.command import Firmware
from harness.model.errors import EnvironmentError_


def option(command: list[str], name: str) -> list[str]:
    return [command[at + 1] for at, word in enumerate(command) if word == name]


def image(folder: Path, size: int) -> Path:
    path = folder / "root.erofs"
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(size)
    return path


def test_a_salt_counts_instructions() -> None:
    command = qemu_command(Guest(Path("c"), kernel=Path("k"), salt=7))
    assert option(command, "-icount") == ["shift=0,sleep=off,align=off"]
    assert option(command, "-seed") == ["7"]
    assert option(command, "-accel") == ["tcg"]
    assert option(command, "-cpu") == ["qemu64"]


def test_without_a_salt_time_flows() -> None:
    assert "-icount" not in qemu_command(Guest(Path("c"), kernel=Path("k")))


def test_counted_guests_read_images_from_memory(tmp_path: Path) -> None:
    path = image(tmp_path, 4 << 20)
    command = qemu_command(Guest(Path("c"), kernel=Path("k"), salt=7, images=(path,)))
    assert option(command, "-machine") == ["q35,i8042=off,nvdimm=on"]
    assert option(command, "-m") == ["512,slots=1,maxmem=518M"]
    (memory,) = option(command, "-object")
    assert f"mem-path={path},size={4 << 20},share=off,readonly=on" in memory


@pytest.mark.parametrize("size", [0, 1 << 20, (2 << 20) + 1])
def test_an_image_that_is_no_nvdimm_is_refused(tmp_path: Path, size: int) -> None:
    guest = Guest(Path("c"), salt=7, images=(image(tmp_path, size),))
    with pytest.raises(EnvironmentError_, match="guest build"):
        qemu_command(guest)


def test_the_port_is_the_first_virtio_device(tmp_path: Path) -> None:
    guest = Guest(
        Path("c"),
        firmware=Firmware(Path("code"), Path("variables")),
        esp=Path("esp"),
        images=(image(tmp_path, 4 << 20),),
        tpm_socket=Path("tpm"),
        tpm_interface="tis",
        port=ControlPort(9),
    )
    devices = option(qemu_command(guest), "-device")
    virtio = [device.partition(",")[0] for device in devices if device.startswith("virtio")]
    assert virtio == ["virtio-serial-pci", "virtio-blk-pci"]
    assert "tpm-tis,tpmdev=tpm0" in devices
    # The guest's kernel has no driver for the disk that only the firmware reads.
    assert "ide-hd,drive=esp,bootindex=0" in devices


def test_a_comma_in_a_path_stays_part_of_it() -> None:
    console = option(qemu_command(Guest(Path("a,b"))), "-chardev")
    assert console == ["file,id=console,path=a,,b"]
