"""All attacks of a scenario on one deployment: what refused each, why, and how long that took.

An attack is shown to the verifier ``iterations`` times, without anything remembered in between;
what another part of the deployment is asked for, it is asked once. The option ``flip_every`` also
changes every so many-th byte of the honest evidence (0, the default: none).
"""

import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.framework.errors import FrameworkError
from harness.framework.verify import verify
from harness.model.errors import EnvironmentError_
from harness.model.record import (
    ATTACKS_NOTE,
    DETECTION,
    EVIDENCE_SIZE,
    FLIPS_NOTE,
    AttackOutcome,
    FlipOutcome,
    Sample,
    TrialOutcome,
    TrialRequest,
)
from harness.model.scenario import AttackCase
from harness.workloads.flips import flip_coverage
from harness.workloads.security.registry import (
    ATTACKS,
    Attempt,
    Attempted,
    Presented,
    load_attacks,
    refusal_ids,
)
from harness.workloads.security.world import World


class _Answer(NamedTuple):
    """``times_ns``: of each repetition; ``sent``: bytes of evidence, None where none is shown."""

    stage: str
    failures: tuple[str, ...]
    times_ns: tuple[int, ...]
    sent: int | None


def run(request: TrialRequest, host: Path | None) -> TrialOutcome:
    """Samples of each attack's detection, and in the notes what came of it.

    That the cases exist is asked before any trial starts (backends/attack_cases.py).
    """
    if host is None:
        raise EnvironmentError_("attacks need the framework: give the scenario an arm of that kind")
    load_attacks()
    cases = [case for case in request.workload.cases if not case.why_not]
    outcomes, samples = [], []
    with World(host, Path(request.workdir), request.seed) as world:
        for case in cases:
            outcome, answer = _run_case(case, world, request.workload.iterations)
            outcomes.append(outcome)
            samples += _samples(case.case, answer) if answer else []
        every = int(request.workload.options.get("flip_every", 0))
        flips = {FLIPS_NOTE: _flipped(world, every)} if every else {}
    notes = {
        ATTACKS_NOTE: msgspec.json.encode(outcomes).decode(),
        "isolation": world.deployment.isolation,
    }
    notes |= flips
    return TrialOutcome("ok", tuple(samples), notes=notes)


def _run_case(
    case: AttackCase, world: World, repetitions: int
) -> tuple[AttackOutcome, _Answer | None]:
    try:
        mounted = ATTACKS[case.case].mount(world)
        # The twin comes first: nothing that the attack leaves behind may help or hinder it.
        twin = _ask(mounted.twin, 1)
        answer = _ask(mounted.attack, repetitions)
    except Exception as error:
        # One attack that can't be mounted must not hide what came of the others.
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return AttackOutcome(case.case, error=text), None
    refused = ", ".join(twin.failures)
    return AttackOutcome(case.case, answer.stage, answer.failures, refused), answer


def _ask(attempt: Attempt, repetitions: int) -> _Answer:
    if isinstance(attempt, Presented):
        return _judge(attempt, repetitions)
    return _try(attempt)


def _judge(presented: Presented, repetitions: int) -> _Answer:
    """What the verifier says; the same every time, or the answer can't be relied on."""
    times, answers = [], set()
    for _ in range(repetitions):
        begin = time.perf_counter_ns()
        result = verify(*presented)
        times.append(time.perf_counter_ns() - begin)
        answers.add((result.stage, tuple(dict.fromkeys(one.id for one in result.failures))))
    if len(answers) > 1:
        raise ValueError(f"the verifier gave different answers: {sorted(answers)}")
    ((stage, failures),) = answers
    return _Answer(stage, failures, tuple(times), len(presented.evidence))


def _try(attempted: Attempted) -> _Answer:
    begin = time.perf_counter_ns()
    try:
        attempted.act()
    except (FrameworkError, OSError) as error:
        taken = time.perf_counter_ns() - begin
        return _Answer(attempted.stage, refusal_ids(str(error)), (taken,), attempted.sent)
    return _Answer("", (), (time.perf_counter_ns() - begin,), attempted.sent)


def _flipped(world: World, every: int) -> str:
    """The note about the honest evidence with every ``every``-th byte changed, one at a time."""
    evidence, policy, challenge, now_s = world.presented(world.evidence)
    places = range(0, len(evidence), every)
    coverage = flip_coverage(evidence, policy, challenge, now_s, places=places)
    outcome = FlipOutcome(
        coverage.size_bytes,
        coverage.flips,
        coverage.rejected,
        {field.field: field.accepted for field in coverage.fields if field.accepted},
        tuple(example for field in coverage.unjustified for example in field.examples),
    )
    return msgspec.json.encode(outcome).decode()


def _samples(case: str, answer: _Answer) -> list[Sample]:
    samples = [
        Sample(DETECTION, case, "measured", index, float(taken), "ns", "monotonic")
        for index, taken in enumerate(answer.times_ns)
    ]
    if answer.sent is not None:
        samples.append(Sample(EVIDENCE_SIZE, case, "measured", 0, float(answer.sent), "B", ""))
    return samples
