"""The launch digest of a CSV guest, as its secure processor measures what QEMU loads.

CSV keeps the ABI of AMD SEV: with ``kernel-hashes=on``, QEMU writes a table of SHA-256 digests
beside the firmware (QEMU, ``target/i386/sev.c``), which the firmware holds kernel, initial RAM
disk and command line against before it starts them. The digest is SM3 where SEV's is SHA-256.
"""

import hashlib
import struct
import uuid
from pathlib import Path

from cryptography.hazmat.primitives import hashes

from harness.framework.errors import TeeError

_TABLE = uuid.UUID("9438d606-4f22-4cc9-b479-a793d411fd21")
_CMDLINE = uuid.UUID("97d02dd8-bd20-4c94-aa78-e7714d36ab2a")
_INITRD = uuid.UUID("44baf731-3a2f-4bd7-9af1-41e29169781d")
_KERNEL = uuid.UUID("4de79437-abd2-427f-b835-d5b172d2045b")
_ENTRY_BYTES = 16 + 2 + 32
_TABLE_BYTES = 16 + 2 + 3 * _ENTRY_BYTES
_ALIGNMENT = 16

Component = bytes | Path


def guest_launch_digest(
    firmware: Component,
    kernel: Component | None = None,
    initrd: Component = b"",
    cmdline: str = "",
) -> bytes:
    """SM3 over the firmware image and, with a ``kernel``, the table of hashes: 32 bytes.

    Without one, the guest's own boot loader finds the kernel, and only the firmware is measured.

    Raises:
        TeeError: a file cannot be read.
    """
    digest = hashes.Hash(hashes.SM3())
    digest.update(_content(firmware))
    if kernel is not None:
        digest.update(kernel_hashes(kernel, initrd, cmdline))
    return digest.finalize()


def kernel_hashes(kernel: Component, initrd: Component, cmdline: str) -> bytes:
    """The table as it lies in the guest's memory, padded; the command line ends in a zero."""
    contents = (
        (_CMDLINE, cmdline.encode() + b"\0"),
        (_INITRD, _content(initrd)),
        (_KERNEL, _content(kernel)),
    )
    table = struct.pack("<16sH", _TABLE.bytes_le, _TABLE_BYTES)
    for name, content in contents:
        digest = hashlib.sha256(content).digest()
        table += struct.pack("<16sH32s", name.bytes_le, _ENTRY_BYTES, digest)
    return table + bytes(-len(table) % _ALIGNMENT)


def _content(component: Component) -> bytes:
    if isinstance(component, bytes):
        return component
    try:
        return component.read_bytes()
    except OSError as error:
        raise TeeError(f"{component}: cannot be measured: {error}") from error
