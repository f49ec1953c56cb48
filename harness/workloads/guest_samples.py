"""From what a guest says to samples: each value under the metric and clock that it belongs to."""

from harness.guest.machine.results import GuestResults, GuestSample
from harness.metrics import metric
from harness.model.record import Sample, TrialRequest
from harness.model.scenario import SamplePhase
from harness.scenario.kinds import is_counted

_ENTRIES = {
    "ima.entries.pcr10": "pcr10",
    "ima.entries.pcr11": "pcr11",
    "ima.violations": "violations",
}
_LATENCIES = {
    "guest_tpm_commands": "guest_tpm_command_latency_ns",
    "guest_attestation": "guest_attestation_latency_ns",
}


def samples_of(request: TrialRequest, results: GuestResults, seconds: float) -> tuple[Sample, ...]:
    """The samples of a guest that ended well; ``seconds`` is its life on the host's clock."""
    found = [_sample(_metric_of(request, one), one) for one in results.samples]
    found += [
        _single("ima_entries", part, results.counts[name])
        for name, part in _ENTRIES.items()
        if name in results.counts
    ]
    if "ima.bytes" in results.counts:
        found.append(_single("ima_log_bytes", "total", results.counts["ima.bytes"]))
    found.append(_single("guest_wall_time_ns", "total", round(seconds * 1e9)))
    return tuple(found)


def time_metric(request: TrialRequest) -> str:
    """Name of the metric of the guest's own clock: instructions where they are counted."""
    kind = request.workload.kind
    if kind in _LATENCIES:
        return _LATENCIES[kind]
    return f"{kind}_instructions" if is_counted(request.workload) else f"{kind}_guest_time_ns"


def _metric_of(request: TrialRequest, one: GuestSample) -> str:
    if one.part.endswith(".bytes"):
        return "namespace_memory_bytes"
    if one.part.endswith(".entries"):
        return "ima_entries"
    return time_metric(request)


def _sample(name: str, one: GuestSample) -> Sample:
    part = one.part.removesuffix(".bytes").removesuffix(".entries")
    return _make(name, part, one.phase, one.number, one.value)


def _single(name: str, part: str, value: int) -> Sample:
    return _make(name, part, "measured", 0, value)


def _make(name: str, part: str, phase: SamplePhase, number: int, value: int) -> Sample:
    known = metric(name)
    return Sample(name, part, phase, number, float(value), known.unit, known.clock)
