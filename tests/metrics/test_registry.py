"""The registry of metrics."""

import pytest

from harness.metrics import METRICS, metric
from harness.model.errors import InputError


def test_units_agree_with_the_names() -> None:
    suffixes = {
        "ns": "_ns",
        "B": "_bytes",
        "instructions": "_instructions",
        "entries": "_entries",
    }
    for name, entry in METRICS.items():
        assert name == entry.name
        assert name.endswith(suffixes[entry.unit])
        assert bool(entry.clock) == (entry.unit in ("ns", "instructions"))


def test_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="known: application_guest_time_ns"):
        metric("attestation_latency")
