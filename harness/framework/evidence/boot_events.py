"""What boot events are about: types, UEFI variables, disks, sections of a unified kernel image.

An event's data are only as good as its digest. Where the specification lets firmware hash the
data themselves (``HASHED_DATA``) they can be believed once :func:`is_of_its_data` holds. For other
types (images, tables, text that a boot loader shortens) only the digest counts.
"""

import hashlib
import struct
import uuid
from typing import NamedTuple

from harness.framework.errors import ParseError
from harness.framework.evidence.boot_event_log import BootEvent
from harness.framework.evidence.reader import Reader

# TCG PC Client Platform Firmware Profile 1.06, table 9.
_BIOS_TYPES = (
    "PREBOOT_CERT", "POST_CODE", "UNUSED", "NO_ACTION", "SEPARATOR", "ACTION", "EVENT_TAG",
    "S_CRTM_CONTENTS", "S_CRTM_VERSION", "CPU_MICROCODE", "PLATFORM_CONFIG_FLAGS",
    "TABLE_OF_DEVICES", "COMPACT_HASH", "IPL", "IPL_PARTITION_DATA", "NONHOST_CODE",
    "NONHOST_CONFIG", "NONHOST_INFO", "OMIT_BOOT_DEVICE_EVENTS", "POST_CODE2",
)  # fmt: skip
_EFI_TYPES = {
    0x01: "VARIABLE_DRIVER_CONFIG", 0x02: "VARIABLE_BOOT", 0x03: "BOOT_SERVICES_APPLICATION",
    0x04: "BOOT_SERVICES_DRIVER", 0x05: "RUNTIME_SERVICES_DRIVER", 0x06: "GPT_EVENT",
    0x07: "ACTION", 0x08: "PLATFORM_FIRMWARE_BLOB", 0x09: "HANDOFF_TABLES",
    0x0A: "PLATFORM_FIRMWARE_BLOB2", 0x0B: "HANDOFF_TABLES2", 0x0C: "VARIABLE_BOOT2",
    0x0D: "GPT_EVENT2", 0x10: "HCRTM_EVENT", 0xE0: "VARIABLE_AUTHORITY",
    0xE1: "SPDM_FIRMWARE_BLOB", 0xE2: "SPDM_FIRMWARE_CONFIG", 0xE3: "SPDM_DEVICE_POLICY",
    0xE4: "SPDM_DEVICE_AUTHORITY",
}  # fmt: skip
EVENT_TYPES = {f"EV_{name}": number for number, name in enumerate(_BIOS_TYPES)} | {
    f"EV_EFI_{name}": 0x80000000 + number for number, name in _EFI_TYPES.items()
}
DRIVER_CONFIG = EVENT_TYPES["EV_EFI_VARIABLE_DRIVER_CONFIG"]
GPT_TYPES = frozenset({EVENT_TYPES["EV_EFI_GPT_EVENT"], EVENT_TYPES["EV_EFI_GPT_EVENT2"]})
VARIABLE_BOOT = EVENT_TYPES["EV_EFI_VARIABLE_BOOT"]
VARIABLE_TYPES = frozenset(
    number for name, number in EVENT_TYPES.items() if name.startswith("EV_EFI_VARIABLE_")
)
_OF_TEXT = ("EV_SEPARATOR", "EV_ACTION", "EV_S_CRTM_VERSION", "EV_EFI_ACTION")
HASHED_DATA = frozenset({EVENT_TYPES[name] for name in _OF_TEXT} | VARIABLE_TYPES | GPT_TYPES)
EV_IPL = EVENT_TYPES["EV_IPL"]

_GPT_HEADER, _DISK_GUID = b"EFI PART", slice(56, 72)
_MAX_NAME = 1024


class Bank(NamedTuple):
    """A hash algorithm: the TCG's number and ``hashlib``'s name."""

    algorithm: int
    name: str

    def hash(self, data: bytes) -> bytes:
        """Its digest of ``data``."""
        return hashlib.new(self.name, data).digest()


class Variable(NamedTuple):
    """A UEFI variable in an event: ``name-guid`` as in Linux's efivarfs, and its value."""

    name: str
    guid: str
    value: bytes


def type_name(kind: int) -> str:
    """The specification's name of an event type, or the number."""
    return next((name for name, number in EVENT_TYPES.items() if number == kind), f"{kind:#x}")


def is_of_its_data(event: BootEvent, bank: Bank) -> bool:
    """Whether the event's digest in ``bank`` is of its data.

    EV_EFI_VARIABLE_BOOT may also be the digest of the variable's value alone, as EDK2 does it.
    """
    digest = event.digests[bank.algorithm]
    if bank.hash(event.data) == digest:
        return True
    if event.kind != VARIABLE_BOOT:
        return False
    try:
        value = parse_variable(event.data).value
    except ParseError:
        return False
    return bank.hash(value) == digest


def parse_variable(data: bytes) -> Variable:
    """Read a UEFI_VARIABLE_DATA. Raises ParseError."""
    reader = Reader(data, "UEFI_VARIABLE_DATA", "<")
    guid, name_size, value_size = reader.take(16), reader.u64(), reader.u64()
    if name_size > _MAX_NAME or value_size > len(data):
        raise ParseError(
            "UEFI_VARIABLE_DATA", f"a name of {name_size} letters, a value of {value_size} bytes"
        )
    raw_name, value = reader.take(2 * name_size), reader.take(value_size)
    reader.end()
    try:
        return Variable(raw_name.decode("utf-16-le"), str(uuid.UUID(bytes_le=guid)), value)
    except UnicodeDecodeError:
        raise ParseError("UEFI_VARIABLE_DATA", "the name isn't UTF-16") from None


def variable_data(name: str, guid: str, value: bytes) -> bytes:
    """The UEFI_VARIABLE_DATA that firmware hashes."""
    head = uuid.UUID(guid).bytes_le + struct.pack("<QQ", len(name), len(value))
    return head + name.encode("utf-16-le") + value


def disk_guid(data: bytes) -> str:
    """The disk of a GPT event, from the table's header. Raises ParseError."""
    guid = data[_DISK_GUID]
    if not data.startswith(_GPT_HEADER) or len(guid) != 16:
        raise ParseError("UEFI_GPT_DATA", "doesn't begin with a partition table's header")
    return str(uuid.UUID(bytes_le=guid))


def digests_of_text(text: str, bank: Bank) -> frozenset[bytes]:
    """The digests that an event of ``text`` may have.

    GRUB hashes a command as it is, systemd's stub a command line in UTF-16 with its final zero.
    """
    plain, wide = (text.encode(form, "surrogatepass") for form in ("utf-8", "utf-16-le"))
    return frozenset(map(bank.hash, (plain, plain + b"\0", wide, wide + b"\0\0")))


def digest_of_section(name: str, bank: Bank) -> bytes:
    """The digest by which systemd's stub announces a section before its content."""
    return bank.hash(name.encode() + b"\0")
