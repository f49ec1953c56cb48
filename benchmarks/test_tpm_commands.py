"""Latency of TPM operations. Works alone and inside a trial, which reads the JSON of it."""

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.workloads.arms import Pod
from harness.workloads.tpm_operations import OPERATION_NAMES, Operation


@pytest.mark.parametrize("name", OPERATION_NAMES)
def test_tpm_command(
    benchmark: BenchmarkFixture, pod: Pod, operations: dict[str, Operation], name: str
) -> None:
    operation = operations[name]
    before = pod.tcti.round_trips
    _discard(operation, operation.call())
    flushes = 1 if operation.flush else 0
    benchmark.extra_info["part"] = name
    benchmark.extra_info["round_trips"] = pod.tcti.round_trips - before - flushes
    if operation.flush is None and operation.max_rounds is None:
        benchmark(operation.call)
        return
    rounds = benchmark._min_rounds
    if operation.max_rounds is not None:
        rounds = min(rounds, operation.max_rounds)
    _with_flush(benchmark, operation, rounds)


def _with_flush(benchmark: BenchmarkFixture, operation: Operation, rounds: int) -> None:
    """One call per round; what it made is flushed between rounds, outside the time."""
    made: list[object] = []

    def call() -> None:
        made.append(operation.call())

    def flush() -> None:
        _discard(operation, made.pop())

    pedantic: Callable[..., object] = benchmark.pedantic
    pedantic(call, teardown=flush, rounds=rounds, iterations=1)


def _discard(operation: Operation, result: object) -> None:
    if operation.flush:
        operation.flush(result)
