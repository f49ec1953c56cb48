"""Synthetic measurement logs in the real formats, the same for the same seed.

Sizes and mix follow a Debian guest: digests are random, paths plausible, nothing is secret.
"""

import hashlib
import random
import struct
from typing import NamedTuple

PCR_COUNT = 24
_ALG_SHA1, _ALG_SHA256 = 0x0004, 0x000B
_EV_NO_ACTION, _EV_SEPARATOR = 0x3, 0x4
_EV_S_CRTM_VERSION, _EV_IPL = 0x8, 0xD
_EV_EFI_VARIABLE_DRIVER_CONFIG, _EV_EFI_BOOT_SERVICES_APPLICATION = 0x80000001, 0x80000003
_EV_EFI_PLATFORM_FIRMWARE_BLOB = 0x80000008

# What EDK2, shim and GRUB measure on a guest, as (PCR, event type, data).
_VARIABLES = ("SecureBoot", "PK", "KEK", "db", "dbx")
_GLOBAL_VARIABLE = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
_DIRECTORIES = ("/usr/bin", "/usr/sbin", "/usr/lib/x86_64-linux-gnu", "/usr/libexec", "/opt/app")


class BootLog(NamedTuple):
    """``log`` in the TCG crypto-agile format; ``extends`` are (PCR, SHA-256 digest) in order."""

    log: bytes
    extends: tuple[tuple[int, bytes], ...]


class ImaLog(NamedTuple):
    """``binary`` as the kernel's binary_runtime_measurements (ima-ng, SHA-256).

    ``template_hashes_sha256`` is what each entry extends into PCR 10 of the SHA-256 bank;
    ``allowed`` maps every path but boot_aggregate's to its digests.
    """

    binary: bytes
    template_hashes_sha256: tuple[bytes, ...]
    allowed: dict[str, tuple[bytes, ...]]


def boot_event_log(seed: int) -> BootLog:
    """A boot with SHA-1 and SHA-256 digests that leaves none of PCR 0-9 at zero."""
    rng = random.Random(seed)  # noqa: S311 - reproducible test data
    log = bytearray(_log_header())
    extends = []
    for pcr, kind, data, hashed in _boot_events(rng):
        sha256 = hashlib.sha256(hashed).digest()
        log += struct.pack("<IIIH20s", pcr, kind, 2, _ALG_SHA1, hashlib.sha1(hashed).digest())  # noqa: S324 - the format has this bank
        log += struct.pack("<H32sI", _ALG_SHA256, sha256, len(data)) + data
        extends.append((pcr, sha256))
    return BootLog(bytes(log), tuple(extends))


def pcrs_after(extends: tuple[tuple[int, bytes], ...]) -> dict[int, bytes]:
    """SHA-256 PCR values 0-15 after extending from a reset."""
    values = {pcr: bytes(32) for pcr in range(16)}
    for pcr, digest in extends:
        values[pcr] = hashlib.sha256(values[pcr] + digest).digest()
    return values


def ima_log(entries: int, seed: int) -> ImaLog:
    """``entries`` measurements, the first being boot_aggregate over ``boot_event_log(seed)``."""
    rng = random.Random(seed ^ 0x1A)  # noqa: S311 - reproducible test data
    pcrs = pcrs_after(boot_event_log(seed).extends)
    aggregate = hashlib.sha256(b"".join(pcrs[pcr] for pcr in range(10))).digest()
    measured = [("boot_aggregate", aggregate)]
    measured += [(_path(rng, number), rng.randbytes(32)) for number in range(1, entries)]
    log, hashes = bytearray(), []
    for path, digest in measured:
        data = template_data(path, digest)
        sha1 = hashlib.sha1(data).digest()  # noqa: S324 - the format has this field
        log += struct.pack("<I20sI6sI", 10, sha1, 6, b"ima-ng", len(data)) + data
        hashes.append(hashlib.sha256(data).digest())
    allowed: dict[str, tuple[bytes, ...]] = {path: (digest,) for path, digest in measured[1:]}
    return ImaLog(bytes(log), tuple(hashes), allowed)


def template_data(path: str, digest: bytes) -> bytes:
    """Template data of an ima-ng entry with a SHA-256 digest."""
    name = path.encode() + b"\0"
    return struct.pack("<I8s32sI", 40, b"sha256:\0", digest, len(name)) + name


def _log_header() -> bytes:
    """TCG_PCR_EVENT with the TCG_EfiSpecIdEvent that announces both banks."""
    banks = struct.pack("<IHHHH", 2, _ALG_SHA1, 20, _ALG_SHA256, 32)
    spec = struct.pack("<16sIBBBB", b"Spec ID Event03\0", 0, 0, 2, 0, 2) + banks + b"\0"
    return struct.pack("<II20sI", 0, _EV_NO_ACTION, bytes(20), len(spec)) + spec


def _boot_events(rng: random.Random) -> list[tuple[int, int, bytes, bytes]]:
    """(PCR, type, event data, what is hashed) of each event."""

    def plain(pcr: int, kind: int, data: bytes) -> tuple[int, int, bytes, bytes]:
        return pcr, kind, data, data

    def image(pcr: int, kind: int, data: bytes) -> tuple[int, int, bytes, bytes]:
        return pcr, kind, data, rng.randbytes(64)

    blob = struct.pack("<QQ", 0x820000, 0xE0000)
    events = [
        plain(0, _EV_S_CRTM_VERSION, "edk2 stable".encode("utf-16-le") + b"\0\0"),
        image(0, _EV_EFI_PLATFORM_FIRMWARE_BLOB, blob),
    ]
    events += [plain(7, _EV_EFI_VARIABLE_DRIVER_CONFIG, _variable(rng, v)) for v in _VARIABLES]
    for pcr, variable in ((1, "BootOrder"), (1, "Boot0000"), (2, "OptionRom"), (3, "RomConfig")):
        events.append(plain(pcr, _EV_EFI_VARIABLE_DRIVER_CONFIG, _variable(rng, variable)))
    events += [plain(pcr, _EV_SEPARATOR, bytes(4)) for pcr in range(8)]
    events += [image(4, _EV_EFI_BOOT_SERVICES_APPLICATION, _load_event()) for _ in range(3)]
    commands = ("set root=hd0,gpt1", "linux /vmlinuz ro quiet", "initrd /initrd.img", "boot")
    # GRUB hashes the command itself, without the prefix and the zero that the event has.
    events += [(8, _EV_IPL, f"grub_cmd: {line}\0".encode(), line.encode()) for line in commands]
    events += [image(9, _EV_IPL, f"(hd0,gpt1)/{name}\0".encode()) for name in ("vmlinuz", "initrd")]
    return events


def _variable(rng: random.Random, name: str) -> bytes:
    """UEFI_VARIABLE_DATA."""
    value = rng.randbytes(48)
    head = _GLOBAL_VARIABLE + struct.pack("<QQ", len(name), len(value))
    return head + name.encode("utf-16-le") + value


def _load_event() -> bytes:
    """UEFI_IMAGE_LOAD_EVENT with an end-of-path device path."""
    return struct.pack("<QQQQ", 0x7F000000, 0x100000, 0, 4) + b"\x7f\xff\x04\x00"


def _path(rng: random.Random, number: int) -> str:
    return f"{rng.choice(_DIRECTORIES)}/{rng.randbytes(rng.randint(3, 9)).hex()}-{number}"
