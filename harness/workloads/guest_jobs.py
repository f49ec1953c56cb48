"""What the agent is told to do: one directive per line, in the order in which they are run."""

from typing import Literal

from harness.model.errors import InputError
from harness.model.record import TrialRequest
from harness.model.scenario import Scalar, Workload

Image = Literal["root", "a", "b"]

_KIB, _MIB = 1024, 1024 * 1024
_UNITS = {"KiB": _KIB, "MiB": _MIB}
_STANDARD_SIZES = "4KiB,64KiB,1MiB"
_STANDARD_OPS = "exec,open,mmap"
_STANDARD_SCOPES = "host,container,second"
# Hashing decides the cost of a large file, and is the same instructions every time.
_FULL_COUNT_UP_TO = 64 * _KIB
_FEWEST_FILES = 2
_SYSTEM_MIB = 384
_STANDARD_MIB = 512


def job_of(request: TrialRequest) -> str:
    """The job of a trial. Raises InputError for a kind without one or an option it can't read."""
    workload, factors = request.workload, request.cell.factors
    count = f"count={workload.iterations}"
    match workload.kind:
        case "guest_boot":
            return "boot\n"
        case "file_measurement":
            return _files_job(workload)
        case "container_start":
            # The workload's own iterations are containers: their number is the factor.
            containers = factors.get("containers", workload.iterations)
            return f"container_start count={containers} runtime={_option(workload, 'runtime')}\n"
        case "namespace_scale":
            return f"namespace_scale domains={_option(workload, 'domains')}\n"
        case "log_growth":
            entries, step = (_option(workload, name) for name in ("entries", "step"))
            return f"log_growth entries={entries} step={step} {count}\n"
        case "application":
            return f"application names={_option(workload, 'names')} {count}\n"
        case "guest_tpm_commands":
            return f"tpm {count} warm={workload.warmup}\n"
        case "guest_attestation":
            return _attestation_job(request)
    raise InputError(f"workload {workload.name}: a guest has no job {workload.kind}")


def images_of(workload: Workload) -> tuple[Image, ...]:
    """The images that the job uses, in the order of its devices."""
    match workload.kind:
        case "application":
            return ("root",)
        case "container_start" if _option(workload, "runtime") == "crun":
            return ("root",)
        case "guest_attestation" | "guest_attacks":
            return ("a", "b")
    return ()


def memory_of(workload: Workload) -> int:
    """Memory in MiB: what the system needs, and the most files that the job has at a time."""
    if workload.kind != "file_measurement":
        return _STANDARD_MIB
    most = max(size * (workload.warmup + _files(workload, size)) for size in sizes_of(workload))
    # The agent leaves a quarter of the free memory alone.
    return max(_STANDARD_MIB, _SYSTEM_MIB + most * 4 // 3 // _MIB)


def sizes_of(workload: Workload) -> tuple[int, ...]:
    """File sizes in bytes, from the option ``sizes`` such as "4KiB,1MiB". Raises InputError."""
    text = _option(workload, "sizes")
    return tuple(_size(workload.name, word.strip()) for word in text.split(","))


def _size(workload: str, word: str) -> int:
    number, unit = word[:-3], word[-3:]
    if unit not in _UNITS or not number.isdecimal() or not 1 <= int(number) <= 1024:
        raise InputError(f'workload {workload}: size "{word}", expected one such as 4KiB or 16MiB')
    return int(number) * _UNITS[unit]


def _files(workload: Workload, size: int) -> int:
    """How many files of that size each operation gets: fewer of the large ones."""
    if size <= _FULL_COUNT_UP_TO:
        return workload.iterations
    return max(_FEWEST_FILES, workload.iterations * _FULL_COUNT_UP_TO // size)


def _files_job(workload: Workload) -> str:
    ops, scopes = (_option(workload, name) for name in ("ops", "scopes"))
    sizes = ",".join(f"{size}:{_files(workload, size)}" for size in sizes_of(workload))
    return f"file_measurement warm={workload.warmup} sizes={sizes} ops={ops} scopes={scopes}\n"


def _attestation_job(request: TrialRequest) -> str:
    workload = request.workload
    lines = ["containers"]
    if "hide" in workload.options:
        lines.append(f"hide kind={workload.options['hide']}")
    # A plain TPM's guest has no processor that reports on it.
    report = int(request.arm.kind == "framework")
    lines.append(
        f"attest count={workload.iterations} warm={workload.warmup} seal=1 report={report}"
    )
    return "".join(f"{line}\n" for line in lines)


_STANDARD: dict[str, Scalar] = {
    "sizes": _STANDARD_SIZES,
    "ops": _STANDARD_OPS,
    "scopes": _STANDARD_SCOPES,
    "runtime": "agent",
    "domains": "1,4,16,64",
    "entries": 2_000,
    "step": 500,
    "names": "compile,sqlite",
}


def _option(workload: Workload, name: str) -> str:
    """An option's value as text, which must be one word of the job."""
    value = str(workload.options.get(name, _STANDARD[name]))
    if not value or any(c.isspace() or not c.isprintable() for c in value):
        raise InputError(f"workload {workload.name}: options.{name} must be words with commas")
    return value
