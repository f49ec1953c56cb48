"""A backend that measures nothing: latencies come from a seeded model with a known truth.

It serves the tests of everything above it: the same scenario and seed give the same samples on
every machine, so what statistics recover can be compared with what was put in.
"""

import hashlib
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path

from harness.model.record import Sample, TrialOutcome, TrialRequest
from harness.model.scenario import SamplePhase, Scalar, Scenario

METRIC = "fake_latency_ns"
_WARMUP_SLOWDOWN = 0.5


class FakeBackend:
    """Draws latency = base x arm x block drift x position x trial x iteration noise.

    Workload options: ``latency_ns``, ``drift_sd`` (shared by a block's arms), ``trial_sd``,
    ``noise_sd`` (all on the log scale), ``position_effect`` (per position), ``sleep_ms``.
    Arm options: ``latency_ns``, ``slowdown``, and the probabilities ``fail``, ``reject``,
    ``timeout`` of a trial that gives no numbers.
    """

    name = "fake"

    def check(self, scenario: Scenario) -> None:
        """Runs anywhere."""

    def prepare(self, scenario: Scenario, workdir: Path) -> None:
        """Needs nothing."""

    def provenance(self) -> dict[str, object]:
        """Say plainly that nothing was measured."""
        what = {"what": "all latencies", "instead_of": "measurements", "note": "seeded model"}
        return {"emulated": [what], "isolation": "none", "versions": {}}

    def run_block(self, requests: Sequence[TrialRequest]) -> list[TrialOutcome]:
        """The trials one after the other: a model has no speed that changes."""
        return [self.run_trial(request) for request in requests]

    def run_trial(self, request: TrialRequest) -> TrialOutcome:
        """Sleep as asked, then return the trial's samples or its injected fault."""
        options = request.workload.options
        time.sleep(_number(options, "sleep_ms", 0.0) / 1000)
        rng = _rng(request.seed, "trial", request.arm.name)
        fault = _injected_fault(request.arm.options, rng)
        if fault is not None:
            return fault
        center = _log_latency(request) + rng.gauss(0, _number(options, "trial_sd", 0.0))
        noise_sd = _number(options, "noise_sd", 0.0)
        samples = []
        for index, phase in enumerate(
            _phases(request.workload.warmup, request.workload.iterations)
        ):
            first = index == 0 or phase == "warmup"
            log_value = center + rng.gauss(0, noise_sd) + (_WARMUP_SLOWDOWN if first else 0.0)
            samples.append(
                Sample(METRIC, "total", phase, index, math.exp(log_value), "ns", "model")
            )
        return TrialOutcome("ok", tuple(samples))

    def close(self) -> None:
        """Nothing to take down."""


_FAULTS = {
    "fail": TrialOutcome("failed", reason="fake.failed"),
    "reject": TrialOutcome("rejected", reason="quote.nonce"),
    "timeout": TrialOutcome("timeout", reason="fake.timeout"),
}


def _phases(warmup: int, iterations: int) -> list[SamplePhase]:
    warmups: list[SamplePhase] = ["warmup"] * warmup
    measured: list[SamplePhase] = ["measured"] * iterations
    return ["first", *warmups, *measured]


def _log_latency(request: TrialRequest) -> float:
    """Log of the trial's true latency: what all its iterations share without own noise."""
    options = request.workload.options
    base = _number(request.arm.options, "latency_ns", _number(options, "latency_ns", 1e6))
    drift = _rng(request.seed, "drift").gauss(0, _number(options, "drift_sd", 0.0))
    slowdown = math.log1p(_number(request.arm.options, "slowdown", 0.0))
    position = request.position * math.log1p(_number(options, "position_effect", 0.0))
    return math.log(base) + drift + slowdown + position


def _injected_fault(options: dict[str, Scalar], rng: random.Random) -> TrialOutcome | None:
    draws = {name: rng.random() < _number(options, name, 0.0) for name in _FAULTS}
    for name, outcome in _FAULTS.items():
        if draws[name]:
            return outcome
    return None


def _number(options: dict[str, Scalar], name: str, default: float) -> float:
    return float(options.get(name, default))


def _rng(seed: int, *names: str) -> random.Random:
    text = "/".join((str(seed), *names)).encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:16], "big")
    return random.Random(number)  # noqa: S311 - a model, not a secret
