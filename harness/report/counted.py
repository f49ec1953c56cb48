"""What the parts of guest metrics mean, and which of them are equal work in all arms.

Equal work: operations that every kernel does, so that the ratio is an overhead. New work: what
only the extension does at all (a second container's own measurements, containers with a domain):
it is shown as entries, extends and instructions, never as a percentage of something smaller.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.model.estimate import Estimate
from harness.report.data import Dataset

FILES = "file_measurement_instructions"
STARTS = "container_start_instructions"
SCALE = "namespace_scale_instructions"
GROWTH = "log_growth_instructions"
APPLICATION = "application_instructions"
BOOT = "guest_boot_instructions"
BOOT_TIME = "guest_boot_guest_time_ns"
DOMAIN_MEMORY = "namespace_memory_bytes"
ENTRIES = "ima_entries"
LOG_BYTES = "ima_log_bytes"
GUEST_COMMANDS = "guest_tpm_command_latency_ns"
GUEST_ATTESTATION = "guest_attestation_latency_ns"
WALL = "guest_wall_time_ns"

COUNTED = (FILES, BOOT, APPLICATION, GROWTH, STARTS, SCALE)
OPERATIONS = ("exec", "open", "mmap")
SCOPES = {"host": "guest host", "container": "container", "second": "second container"}
MARGIN = 0.01  # what the extension may cost at most where the work is equal
NO_MEASUREMENT = "ima-off"  # the arm without any measurement does less work, not equal work

_BOOT_PARTS = {
    "init": "boot to the first program",
    "system": "boot to the ready guest",
    "container": "boot to a container's first program",
    "total": "boot to the end of the guest",
}
# What a container runs, the extension measures for it, and stock once for the guest.
_BOOT_OF_EVERY_KERNEL = ("init", "system")
_START_PARTS = {
    "start.first": "container start, new program",
    "start.again": "container start, known program",
}
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_FILE = re.compile(
    rf"({'|'.join(SCOPES)})\.({'|'.join(OPERATIONS)})\.(first|again)\.(\d+)(B|KiB|MiB|GiB)"
)
_NUMBERED = re.compile(r"([a-z_]+)\.(\d+)(?:\.bytes)?")


@dataclass(frozen=True)
class FilePart:
    """One file operation: who did it, what, whether the file was new to it, and its size."""

    scope: str
    operation: str
    again: bool
    size: int

    @property
    def size_text(self) -> str:
        """ "16 KiB"."""
        return size_text(self.size)


def file_part(part: str) -> FilePart | None:
    """The parsed ``<scope>.<op>.<first|again>.<size>``; None for a control."""
    match = _FILE.fullmatch(part)
    if match is None:
        return None
    scope, operation, again, number, unit = match.groups()
    return FilePart(scope, operation, again == "again", int(number) * _UNITS[unit])


def numbered(part: str) -> tuple[str, int] | None:
    """("create", 16) of ``create.16`` or ``create.16.bytes``."""
    match = _NUMBERED.fullmatch(part)
    return (match[1], int(match[2])) if match else None


def size_text(size: float) -> str:
    """A size in its largest whole unit: 16384 gives "16 KiB"."""
    for unit, scale in reversed(_UNITS.items()):
        if size >= scale:
            return f"{size / scale:g} {unit}"
    return f"{size:g} B"


def equal_work(metric: str, part: str) -> bool:
    """Whether every kernel does this operation, so that the extension's share is an overhead.

    What a second container touches first is measured by the extension alone; what it touches
    again is measured by nobody.
    """
    parsed = file_part(part) if metric == FILES else None
    if parsed is not None and parsed.scope == "second" and not parsed.again:
        return False
    if metric == BOOT:
        return part in _BOOT_OF_EVERY_KERNEL
    return metric in (FILES, APPLICATION, GROWTH)


def operation_name(metric: str, part: str) -> str:
    """The operation in words: "exec 16 KiB, container, first"."""
    parsed = file_part(part) if metric == FILES else None
    if parsed is not None:
        turn = "again" if parsed.again else "first"
        return f"{parsed.operation} {parsed.size_text}, {SCOPES[parsed.scope]}, {turn}"
    number = numbered(part)
    if number is not None:
        noun = "entries" if metric == GROWTH else "domains"
        return f"{number[0].replace('_', ' ')} at {number[1]:,} {noun}"
    if metric == BOOT:
        return _BOOT_PARTS.get(part, f"boot, {part}")
    if metric == STARTS:
        return _START_PARTS.get(part, f"container start, {part}")
    words = metric.removesuffix("_instructions").replace("_", " ")
    return f"{words}, {part.replace('.', ' ')}"


def operation_phrase(e: Estimate) -> str:
    """The same inside a sentence: "the first exec of a 16 KiB file in a container"."""
    parsed = file_part(e.part) if e.metric == FILES else None
    if parsed is None:
        return estimate_name(e)
    turn = "a repeated" if parsed.again else "the first"
    place = "the guest host" if parsed.scope == "host" else f"a {SCOPES[parsed.scope]}"
    return f"{turn} {parsed.operation} of a {parsed.size_text} file in {place}"


def estimate_name(e: Estimate) -> str:
    """The estimate's operation in words; a first run of something repeated says so."""
    return operation_name(e.metric, e.part) + (", first run" if e.phase == "first" else "")


def part_rank(metric: str, part: str) -> tuple[object, ...]:
    """Order of parts as people read them: by scope, operation, turn and size."""
    place = COUNTED.index(metric) if metric in COUNTED else len(COUNTED)
    parsed = file_part(part) if metric == FILES else None
    if parsed is not None:
        scope, operation = list(SCOPES).index(parsed.scope), OPERATIONS.index(parsed.operation)
        return place, 0, "", scope, operation, parsed.again, parsed.size
    name, number = numbered(part) or (part, 0)
    return place, 1, name, number, 0, False, 0


def comparable(data: Dataset, estimates: Iterable[Estimate]) -> list[Estimate]:
    """Without A/A copies and without the arms that measure nothing."""
    kinds = {arm.name: arm.kind for arm in data.scenario.arms}
    return [
        e
        for e in estimates
        if e.candidate not in data.copies and kinds.get(e.candidate) != NO_MEASUREMENT
    ]


def equal_estimates(data: Dataset) -> list[Estimate]:
    """Counted estimates of equal work, in reading order."""
    found = [e for e in data.by_key.values() if equal_work(e.metric, e.part)]
    return in_reading_order(data, comparable(data, found))


def workloads_of(estimates: Iterable[Estimate]) -> dict[str, set[str]]:
    """Names of the workloads by metric: where there are several, labels must tell them apart."""
    found: dict[str, set[str]] = {}
    for e in estimates:
        found.setdefault(e.metric, set()).add(e.workload)
    return found


def leading(data: Dataset, estimates: Sequence[Estimate]) -> list[Estimate]:
    """Those of the first arm that has any; claims put the arm they are about first."""
    having = {e.candidate for e in estimates}
    lead = next((arm for arm in data.candidates if arm in having), "")
    return [e for e in estimates if e.candidate == lead]


def new_work(data: Dataset) -> list[Estimate]:
    """Counted estimates of what only the extension does, in reading order."""
    found = [
        e for e in data.by_key.values() if e.metric in COUNTED and not equal_work(e.metric, e.part)
    ]
    return in_reading_order(data, comparable(data, found))


def in_reading_order(data: Dataset, estimates: Iterable[Estimate]) -> list[Estimate]:
    """By cell, part and arm."""
    cells = {cell.id: place for place, cell in enumerate(data.cells)}
    arms: Sequence[str] = data.candidates

    def rank(e: Estimate) -> tuple[object, ...]:
        arm = arms.index(e.candidate) if e.candidate in arms else len(arms)
        return part_rank(e.metric, e.part), cells.get(e.cell_id, len(cells)), arm, e.phase

    return sorted(estimates, key=rank)
