"""IMA's text list (``ascii_runtime_measurements``), turned into the binary one.

The text says what the binary says, in the same order: the kernel puts ``_`` for spaces in names in
both. What can't be told for sure is refused: a name with a newline, an empty name, a template that
isn't known here, and the lists of other banks (their first digest isn't SHA-1).
"""

import re
import struct
from collections.abc import Callable

from harness.framework.errors import ParseError

_WHAT = "IMA text list"
_MAX_SIZE = 64 * 1024 * 1024
_LAST_PCR = 23
_LINE = re.compile(rb" ?([0-9]{1,2}) ([0-9a-f]{40}) ([!-~]{1,16}) (.*)", re.DOTALL)
_DIGEST = re.compile(rb"((?:[a-z0-9-]{1,16}:){1,2})((?:[0-9a-f]{2}){1,64})")
_NAMESPACES = re.compile(rb"(\d+),mnt:(\d+),pid:(\d+),user:(\d+),cgroup:(\d+)")
_HEX = re.compile(rb"(?:[0-9a-f]{2})*")


def to_binary(text: bytes) -> bytes:
    """The list as ``binary_runtime_measurements`` would have it.

    Raises:
        ParseError: names the line that isn't one of a known template.
    """
    if len(text) > _MAX_SIZE:
        raise ParseError(_WHAT, f"{len(text)} bytes, at most {_MAX_SIZE}")
    if b"\r\n" in text:
        raise ParseError(_WHAT, "its lines end with CR LF; expected LF alone, as the kernel has it")
    lines = text.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return b"".join(_entry(line, number) for number, line in enumerate(lines, 1))


def _entry(line: bytes, number: int) -> bytes:
    match = _LINE.fullmatch(line)
    template = match[3].decode() if match else ""
    if match is None or template not in _TEMPLATES or int(match[1]) > _LAST_PCR:
        raise ParseError(_WHAT, f"line {number}: {line[:80]!r} is no entry of a known template")
    form = _TEMPLATES[template]
    # A path may have spaces on old kernels; where it is last, nothing else can be meant.
    values = match[4].split(b" ", len(form) - 1 if form[-1] in (_name, _old_name) else -1)
    try:
        data = b"".join(write(value) for write, value in zip(form, values, strict=True))
    except (ValueError, struct.error):
        raise ParseError(_WHAT, f"line {number}: malformed fields of {template!r}") from None
    head = struct.pack("<I20s", int(match[1]), bytes.fromhex(match[2].decode()))
    sized_data = data if template == "ima" else _sized(data)
    return head + _sized(match[3]) + sized_data


def _sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def _old_digest(value: bytes) -> bytes:
    digest = _unhex(value)
    if len(digest) != 20:
        raise ValueError
    return digest


def _old_name(value: bytes) -> bytes:
    return _sized(_some(value))


def _digest(value: bytes) -> bytes:
    match = _DIGEST.fullmatch(value)
    if match is None:
        raise ValueError
    return _sized(match[1] + b"\0" + _unhex(match[2]))


def _optional_digest(value: bytes) -> bytes:
    return _digest(value) if value else _sized(b"")


def _name(value: bytes) -> bytes:
    return _sized(_some(value) + b"\0")


def _optional_name(value: bytes) -> bytes:
    return _name(value) if value else _sized(b"")


def _bytes(value: bytes) -> bytes:
    return _sized(_unhex(value))


def _u32(value: bytes) -> bytes:
    return _sized(struct.pack("<I", _decimal(value)))


def _u16(value: bytes) -> bytes:
    return _sized(struct.pack("<H", _decimal(value)))


def _namespaces(value: bytes) -> bytes:
    match = _NAMESPACES.fullmatch(value)
    if match is None:
        raise ValueError
    return _sized(struct.pack("<QIIII", *map(int, match.groups())))


def _decimal(value: bytes) -> int:
    if not value.isdigit():
        raise ValueError
    return int(value)


def _some(value: bytes) -> bytes:
    if not value:
        raise ValueError
    return value


def _unhex(value: bytes) -> bytes:
    if not _HEX.fullmatch(value):
        raise ValueError
    return bytes.fromhex(value.decode())


_FILE = (_digest, _name)
_TEMPLATES: dict[str, tuple[Callable[[bytes], bytes], ...]] = {
    "ima": (_old_digest, _old_name),
    "ima-ng": _FILE,
    "ima-ngv2": _FILE,
    "ima-sig": (*_FILE, _bytes),
    "ima-sigv2": (*_FILE, _bytes),
    "ima-buf": (*_FILE, _bytes),
    "ima-ns": (*_FILE, _namespaces),
    "ima-modsig": (*_FILE, _bytes, _optional_digest, _bytes),
    "evm-sig": (*_FILE, _bytes, _optional_name, _bytes, _bytes, _u32, _u32, _u16),
}
