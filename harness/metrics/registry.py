"""The registry of metrics. Values of different metrics are never mixed, even in one unit."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from harness.model.errors import InputError

Better = Literal["lower", "higher"]

# What a count is written in: it depends on neither the machine's load nor the order of trials.
COUNTED_UNIT = "instructions"


class Metric(msgspec.Struct, frozen=True):
    """One measured quantity; ``clock`` is "" where no clock is involved."""

    name: str
    unit: str
    better: Better
    clock: str
    description: str


_GUEST_WORK = {
    "guest_boot": "from the start of the kernel to a stage of the boot, waits for timers included",
    "file_measurement": "one operation on a file, by scope, operation, first or again, and size",
    "container_start": "from the making of a container to the end of its first program",
    "namespace_scale": "one operation on a measurement domain, by the number of domains",
    "log_growth": "measuring one more file, or reading the list, by the list's length",
    "application": "one run of a program in a container",
}


def _guest_metrics() -> Iterator[Metric]:
    """What guests do, as counted instructions and as time on the guest's own clock."""
    for name, what in _GUEST_WORK.items():
        counted = f"instructions of the guest: {what}"
        yield Metric(f"{name}_instructions", "instructions", "lower", "guest-instructions", counted)
        timed = f"time on the guest's clock: {what}"
        yield Metric(f"{name}_guest_time_ns", "ns", "lower", "guest-monotonic", timed)


METRICS: dict[str, Metric] = {
    entry.name: entry
    for entry in (
        Metric(
            "attestation_latency_ns",
            "ns",
            "lower",
            "monotonic",
            "wall time of one attestation, from the challenge to the verifier's result, by phase",
        ),
        Metric(
            "tpm_command_latency_ns",
            "ns",
            "lower",
            "monotonic",
            "wall time of one TPM operation as its client sees it, by command",
        ),
        Metric(
            "vtpm_launch_latency_ns",
            "ns",
            "lower",
            "monotonic",
            "wall time from the order of a vTPM to its certificate, by phase",
        ),
        Metric(
            "vtpm_memory_bytes",
            "B",
            "lower",
            "",
            "memory of one vTPM instance: proportional (pss) and resident (rss) set size",
        ),
        Metric(
            "evidence_size_bytes",
            "B",
            "lower",
            "",
            "size of the evidence that is sent to the verifier",
        ),
        Metric(
            "attack_detection_ns",
            "ns",
            "lower",
            "monotonic",
            "time from an attacker's evidence or request to the answer, by attack",
        ),
        Metric(
            "attack_evidence_bytes",
            "B",
            "lower",
            "",
            "size of the evidence that an attack presents, by attack",
        ),
        *_guest_metrics(),
        Metric(
            "namespace_memory_bytes",
            "B",
            "lower",
            "",
            "kernel memory that measurement domains take, by their number",
        ),
        Metric(
            "ima_entries",
            "entries",
            "lower",
            "",
            "entries of the guest's IMA list by PCR, and violations among them",
        ),
        Metric(
            "ima_log_bytes",
            "B",
            "lower",
            "",
            "size of the guest's binary IMA list",
        ),
        Metric(
            "guest_tpm_command_latency_ns",
            "ns",
            "lower",
            "guest-monotonic",
            "time of one TPM command at the guest's /dev/tpm0, by command",
        ),
        Metric(
            "guest_attestation_latency_ns",
            "ns",
            "lower",
            "guest-monotonic",
            "time of one attestation inside the guest, by phase",
        ),
        Metric(
            "guest_wall_time_ns",
            "ns",
            "lower",
            "monotonic",
            "wall time of a whole guest on the host; under emulation a secondary figure",
        ),
        Metric(
            "fake_latency_ns",
            "ns",
            "lower",
            "model",
            "latency drawn from the fake backend's seeded model; nothing is measured",
        ),
    )
}


def metric(name: str) -> Metric:
    """Return the metric ``name``; InputError names the known ones."""
    try:
        return METRICS[name]
    except KeyError:
        known = ", ".join(sorted(METRICS))
        raise InputError(f"unknown metric {name!r}; known: {known}") from None
