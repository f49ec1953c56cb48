"""What the guest's agent writes, line by line. The guest is not trusted: everything is bounded."""

import base64
import binascii
import re
from typing import Literal, NamedTuple

from harness.model.scenario import SamplePhase

MAX_LINE = 400
MAX_OUTPUT_BYTES = 96 * 1024 * 1024
_MAX_FILE_BYTES = 32 * 1024 * 1024
_MAX_FILES_BYTES = 64 * 1024 * 1024
_MAX_FILES = 8_192
_MAX_SAMPLES = 1_000_000
_MAX_NAMES = 4_096
_MAX_NUMBER = 2**63
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,63}")
_PHASES: dict[str, SamplePhase] = {"warmup": "warmup", "first": "first", "measured": "measured"}

QueryKind = Literal["nonce", "report", "more"]


class GuestOutputError(Exception):
    """A line that the protocol does not have."""


class GuestSample(NamedTuple):
    """One value as the guest saw it: nanoseconds, or bytes or entries where the part says so."""

    part: str
    phase: SamplePhase
    number: int
    value: int


class GuestFile(NamedTuple):
    """A file that the guest sent."""

    name: str
    content: bytes


class Query(NamedTuple):
    """A question that the guest waits for an answer to; ``data`` is what it binds in a report."""

    kind: QueryKind
    data: bytes = b""


class GuestResults:
    """Collects what a guest says. ``done`` is its last word, ``failure`` what it complains of."""

    def __init__(self) -> None:
        self.samples: list[GuestSample] = []
        self.counts: dict[str, int] = {}
        self.notes: dict[str, str] = {}
        self.files: list[GuestFile] = []
        self.failure = ""
        self.done = False
        self._file: tuple[str, int] | None = None
        self._base64: list[bytes] = []
        self._base64_size = 0
        self._files_size = 0

    def take(self, line: bytes) -> Query | None:
        """Take in one line without its newline; a question is returned to be answered.

        Raises GuestOutputError.
        """
        if len(line) > MAX_LINE:
            raise GuestOutputError(f"a line of {len(line)} bytes")
        if self._file is not None:
            self._take_base64(line)
            return None
        if self.done:
            raise GuestOutputError("a line after DONE")
        if not line:  # the agent's last word when something cut its line off
            return None
        try:
            text = line.decode("ascii")
        except UnicodeDecodeError:
            raise GuestOutputError(f"not ASCII: {line[:40]!r}") from None
        return self._take_text(text)

    def take_all(self, output: bytes) -> None:
        """Take in a whole output. A last line without its newline was cut off and is left out."""
        if len(output) > MAX_OUTPUT_BYTES:
            raise GuestOutputError(f"{len(output)} bytes of output")
        for line in output.split(b"\n")[:-1]:
            if self.take(line) is not None:
                raise GuestOutputError("a question where nobody can answer")

    def named(self, name: str) -> list[bytes]:
        """Contents of the files of that name, in the order in which they came."""
        return [file.content for file in self.files if file.name == name]

    def _take_text(self, text: str) -> Query | None:
        word, _, rest = text.partition(" ")
        match word:
            case "sample":
                self._take_sample(rest.split(" "))
            case "count":
                name, number = _fields(rest, 2)
                self._room(self.counts)
                self.counts[_name(name)] = _number(number)
            case "note":
                key, _, value = rest.partition(" ")
                self._room(self.notes)
                self.notes[_name(key)] = value
            case "file":
                self._begin_file(*_fields(rest, 2))
            case "fail":
                self.failure = self.failure or rest or "no reason given"
            case "DONE" if not rest:
                self.done = True
            case "nonce?" | "more?" if not rest:
                return Query("nonce" if word == "nonce?" else "more")
            case "report?" if re.fullmatch(r"[0-9a-f]{128}", rest):
                return Query("report", bytes.fromhex(rest))
            case _:
                raise GuestOutputError(f"unknown line {text[:60]!r}")
        return None

    def _take_sample(self, fields: list[str]) -> None:
        if len(fields) != 4 or fields[1] not in _PHASES:
            raise GuestOutputError(f"malformed sample {fields[:5]!r}")
        if len(self.samples) == _MAX_SAMPLES:
            raise GuestOutputError(f"more than {_MAX_SAMPLES} samples")
        part, phase, index, value = fields
        self.samples.append(
            GuestSample(_name(part), _PHASES[phase], _number(index), _number(value))
        )

    def _begin_file(self, name: str, size: str) -> None:
        length = _number(size)
        if length > _MAX_FILE_BYTES or self._files_size + length > _MAX_FILES_BYTES:
            raise GuestOutputError(f"file {name[:64]!r} of {length} bytes is too large")
        if len(self.files) == _MAX_FILES:
            raise GuestOutputError(f"more than {_MAX_FILES} files")
        self._files_size += length
        self._file = (_name(name), length)
        self._base64, self._base64_size = [], 0

    def _take_base64(self, line: bytes) -> None:
        assert self._file is not None  # the caller looked
        name, length = self._file
        if line != b"end":
            self._base64_size += len(line)
            if self._base64_size > (length + 2) // 3 * 4:
                raise GuestOutputError(f"file {name}: longer than announced")
            self._base64.append(line)
            return
        try:
            content = base64.b64decode(b"".join(self._base64), validate=True)
        except binascii.Error as error:
            raise GuestOutputError(f"file {name}: {error}") from None
        if len(content) != length:
            raise GuestOutputError(f"file {name}: {len(content)} bytes, announced were {length}")
        self.files.append(GuestFile(name, content))
        self._file = None

    def _room(self, table: dict[str, int] | dict[str, str]) -> None:
        if len(table) >= _MAX_NAMES:
            raise GuestOutputError(f"more than {_MAX_NAMES} names")


def _fields(rest: str, count: int) -> list[str]:
    fields = rest.split(" ")
    if len(fields) != count:
        raise GuestOutputError(f"expected {count} fields, got {rest[:60]!r}")
    return fields


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise GuestOutputError(f"not a name: {text[:64]!r}")
    return text


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) >= _MAX_NUMBER:
        raise GuestOutputError(f"not a number: {text[:30]!r}")
    return int(text)
