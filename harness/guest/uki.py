"""Unified kernel images: kernel, initial file system and command line as one program for UEFI.

systemd's stub measures each of its sections into PCR 11 and starts the kernel; see
systemd-stub(7) for the names of the sections.
"""

import re
import tempfile
from pathlib import Path

from harness.guest.tools import EFI_STUB, require, run
from harness.model.errors import EnvironmentError_

_OS_RELEASE = b"ID=attestbench\nNAME=attestbench\nVERSION_ID=1\n"
_PAGE = 4096
_SECTION = re.compile(r"^\s*\d+\s+\S+\s+([0-9a-f]+)\s+([0-9a-f]+)\s", re.MULTILINE)


def image(kernel: Path, initrd: bytes, cmdline: str) -> bytes:
    """The unified image of a bzImage; the same bytes for the same parts and the same stub.

    Raises EnvironmentError_ when the stub or objcopy is missing or fails.
    """
    require("a unified kernel image", "objcopy", "objdump", EFI_STUB)
    with tempfile.TemporaryDirectory(prefix="attestbench-uki-") as name:
        folder = Path(name)
        sections = {
            ".osrel": _OS_RELEASE,
            ".cmdline": cmdline.encode() + b"\0",
            ".linux": kernel.read_bytes(),
            ".initrd": initrd,
        }
        command: list[str | Path] = ["objcopy", "--preserve-dates"]
        address = _end_of_stub()
        for section, content in sections.items():
            part = folder / section[1:]
            part.write_bytes(content)
            command += ["--add-section", f"{section}={part}"]
            command += ["--change-section-vma", f"{section}={address:#x}"]
            address = _page(address + len(content))
        command += [EFI_STUB, folder / "uki.efi"]
        run("a unified kernel image", command)
        return (folder / "uki.efi").read_bytes()


def _end_of_stub() -> int:
    """First free page after the stub's own sections."""
    listing = run("a unified kernel image", ["objdump", "-h", EFI_STUB])
    ends = [int(size, 16) + int(start, 16) for size, start in _SECTION.findall(listing)]
    if not ends:
        raise EnvironmentError_(f"{EFI_STUB} has no sections; install systemd-boot-efi again")
    return _page(max(ends))


def _page(address: int) -> int:
    return -(-address // _PAGE) * _PAGE
