"""The registry of metrics. Values of different metrics are never mixed, even in one unit."""

from typing import Literal

import msgspec

from harness.model.errors import InputError

Better = Literal["lower", "higher"]


class Metric(msgspec.Struct, frozen=True):
    """One measured quantity; ``clock`` is "" where no clock is involved."""

    name: str
    unit: str
    better: Better
    clock: str
    description: str


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
