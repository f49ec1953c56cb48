"""What the framework adds to each TPM command and to an attestation, in one run.

    python -m benchmarks.channel_cost [--arm framework] [--rounds 200] [--ima-entries 2000]

Both arms run at the same time and take turns, in alternating order, so that drift of the machine
hits both alike. Prints medians, the median of the paired differences, and the ratio of medians.
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from harness.workloads.arms import ARM_KINDS, BASELINE_KIND, ArmSession, start_arm
from harness.workloads.attestation import attest_once, extend_logs, reference_values
from harness.workloads.logs import boot_event_log, ima_log
from harness.workloads.tpm_operations import RANDOM_TIME, Operation, Workbench
from harness.workloads.verifier_process import VerifierClient

_WARMUP = 5
_SEED = 20251101

Pair = tuple[list[int], list[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arm", choices=ARM_KINDS, default="framework")
    parser.add_argument("--host", type=Path, help="provisioned host platform (default: a new one)")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--ima-entries", type=int, default=2000)
    options = parser.parse_args()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ab-")))
        host = options.host
        if host is None and options.arm != BASELINE_KIND:
            from harness.framework.host.platform import HostPlatform

            host = work / "host"
            HostPlatform.provision(host)
        arms = []
        for number, kind in enumerate((BASELINE_KIND, options.arm)):
            folder = work / str(number)
            folder.mkdir()
            arms.append(stack.enter_context(start_arm(kind, host, folder)))
        print(f"{'':24}{BASELINE_KIND:>14}{options.arm:>14}{'added':>12}{'ratio':>8}")
        for ak in ("rsa2048", "ecc256"):
            once = [_attestation(arm, ak, options.ima_entries, stack) for arm in arms]
            name = f"attestation.{ak}.{options.ima_entries}"
            _print_row(name, _alternate(once[0], once[1], options.rounds))
        tables = [Workbench(arm.open("commands", "ecc256").ectx).operations() for arm in arms]
        for base, other in zip(*tables, strict=True):
            rounds = min(options.rounds, base.max_rounds or options.rounds)
            pair = _alternate(_timed(base), _timed(other), rounds)
            _print_row(base.name, pair, "random time" if base.name in RANDOM_TIME else "")


def _attestation(arm: ArmSession, ak: str, entries: int, stack: ExitStack) -> Callable[[], int]:
    boot, ima = boot_event_log(_SEED), ima_log(entries, _SEED)
    pod = arm.open(f"attestation-{ak}", "rsa2048" if ak == "rsa2048" else "ecc256")
    extend_logs(pod.tcti, boot, ima)
    policy = arm.policy(reference_values(boot, ima))
    verifier = stack.enter_context(VerifierClient(policy))

    def once() -> int:
        attestation = attest_once(pod, verifier, (boot.log, ima.binary))
        if not attestation.verdict.accepted:
            raise SystemExit(f"evidence rejected: {', '.join(attestation.verdict.failures)}")
        return attestation.phases_ns["total"]

    return once


def _timed(operation: Operation) -> Callable[[], int]:
    def once() -> int:
        begin = time.perf_counter_ns()
        result = operation.call()
        elapsed = time.perf_counter_ns() - begin
        if operation.flush:
            operation.flush(result)
        return elapsed

    return once


def _alternate(base: Callable[[], int], other: Callable[[], int], rounds: int) -> Pair:
    """Nanoseconds of both; the one that goes first changes every round."""
    for _ in range(min(_WARMUP, rounds)):
        base()
        other()
    times: Pair = ([], [])
    gc.collect()
    gc.disable()
    for number in range(rounds):
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            times[index].append((base, other)[index]())
    gc.enable()
    return times


def _print_row(name: str, times: Pair, remark: str = "") -> None:
    base, other = (statistics.median(values) / 1000 for values in times)
    added = statistics.median(b - a for a, b in zip(*times, strict=True)) / 1000
    row = f"{name:24}{base:>11.1f} us{other:>11.1f} us{added:>+9.1f} us{other / base:>8.3f}"
    print(f"{row}  {remark}".rstrip())


if __name__ == "__main__":
    main()
