"""Metrics in Prometheus format, right over several worker processes.

Each process counts in files of its own in PROMETHEUS_MULTIPROC_DIR, which the parent sets; whoever
is asked adds them up.
"""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

REQUESTS = Counter(
    "attestbench_requests", "Requests by route and status.", ["route", "status"], registry=None
)
REQUEST_SECONDS = Histogram(
    "attestbench_request_seconds", "From a request's head to its answer.", ["route"],
    buckets=_SECONDS, registry=None,
)  # fmt: skip
CHALLENGES = Counter("attestbench_challenges", "Challenges that were issued.", registry=None)
ATTESTATIONS = Counter(
    "attestbench_attestations", "Evidence that was judged.", ["result"], registry=None
)
FAILURES = Counter(
    "attestbench_failures", "Failures found in evidence, by id.", ["id"], registry=None
)
VERIFY_SECONDS = Histogram(
    "attestbench_verify_seconds", "Verification of one evidence.", buckets=_SECONDS, registry=None
)
PENDING = Gauge(
    "attestbench_pending", "Requests that are worked on or wait.",
    multiprocess_mode="livesum", registry=None,
)  # fmt: skip

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposition() -> bytes:
    """The metrics of all worker processes together."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
