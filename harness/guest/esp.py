"""EFI system partitions: a FAT image whose only file is the program that the firmware starts."""

import hashlib
from pathlib import Path

from harness.guest.cache import Recipe, obtain
from harness.guest.tools import require, run

_MIB = 1 << 20
_SPARE = 2 * _MIB  # bytes for the file system's own tables
_SERIAL = "61747465"


def build(program: bytes) -> Path:
    """The image with ``program`` as /EFI/BOOT/BOOTX64.EFI, from the cache or written into it."""
    require("an EFI system partition", "mformat", "mmd", "mcopy")
    recipe = Recipe("esp", {"program": hashlib.sha256(program).hexdigest(), "serial": _SERIAL})
    return obtain(recipe, lambda into: _write(program, into)) / "esp.img"


def _write(program: bytes, into: Path) -> None:
    image = into / "esp.img"
    size = -(-(len(program) + _SPARE) // _MIB)
    source = into / "BOOTX64.EFI"
    source.write_bytes(program)
    with image.open("wb") as file:
        file.truncate(size * _MIB)
    what = "an EFI system partition"
    # Heads and sectors make one cylinder a mebibyte; a FAT of 32 bits would need 33 MiB.
    geometry = ["-h", "64", "-s", "32", "-t", str(size)]
    run(what, ["mformat", "-i", image, *geometry, "-N", _SERIAL, "-v", "ATTESTBENCH", "::"])
    run(what, ["mmd", "-i", image, "::/EFI", "::/EFI/BOOT"])
    run(what, ["mcopy", "-i", image, source, "::/EFI/BOOT/BOOTX64.EFI"])
    source.unlink()
