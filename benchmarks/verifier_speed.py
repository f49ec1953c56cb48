"""How fast the verifier is, beside Keylime's functions on the same machine, and where time goes.

    benchmarks/peers.sh && .venv/bin/python -m benchmarks.verifier_speed [--only list,quote]

Prints a table for each part: ``list`` and ``quote`` in turns with Keylime (ratios with 95 %
intervals), ``evidence`` (whole verifications per second on one process and on two), ``stages``
(where the time of one goes, against its signatures alone), ``memory`` (peak of a fresh process).
Times are CPU time, so that a busy machine changes them less; the rates are by the clock and by CPU.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from harness.framework.verify import encode_policy
from harness.workloads.arms import BASELINE_KIND, ArmSession

from . import verifier_parts as parts
from .keylime_worker import QUOTES_IN_A_ROW
from .paired import Worker, median_ms, take_turns
from .verifier_cases import ARMS, NONCE, Case, arms, case, write_for_keylime

PARTS = ("list", "quote", "evidence", "stages", "memory")
NEW_ENTRIES = 100
_ROOT = Path(__file__).resolve().parent.parent
_WINDOW_S, _WINDOWS = 2.0, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--entries", type=int, default=100_000, help="of the list beside Keylime")
    parser.add_argument("--sizes", default="500,2000,10000,100000", help="lists of the evidence")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    wanted = set(options.only.split(","))
    if unknown := wanted - set(PARTS):
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{_processor()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, load {load}")
    with arms() as sessions, tempfile.TemporaryDirectory(prefix="ab-") as temporary:
        work = Path(temporary)
        if wanted & {"list", "quote"}:
            _beside_keylime(sessions[BASELINE_KIND], work, options, wanted)
        if wanted & {"evidence", "stages", "memory"}:
            _evidence(sessions, work, [int(size) for size in options.sizes.split(",")], wanted)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _beside_keylime(
    arm: ArmSession, work: Path, options: argparse.Namespace, wanted: set[str]
) -> None:
    quotes = {"rsa2048": case(arm, 100, "rsa2048"), "ecc256": case(arm, 100)}
    known = options.entries - NEW_ENTRIES
    write_for_keylime(work, options.entries, known, quotes)
    python = _ROOT / ".venv.peers/bin/python"
    if not python.exists():
        raise SystemExit(f"{python} is missing; run benchmarks/peers.sh first")
    with Worker([str(python), str(_ROOT / "benchmarks/keylime_worker.py"), str(work)]) as keylime:
        peer = json.loads(keylime.greeting)
        print(" ".join(f"{name} {version}" for name, version in peer["versions"].items()))
        for name in peer["absent"]:
            print(f"its module {name} is absent; one that ends the run when used stands in")

        def theirs(task: str) -> int:
            return int(keylime.ask(task))

        if "list" in wanted:
            print(f"\nIMA list of {options.entries} entries: ours, Keylime, ratio")
            for name, task, ours in parts.lists(case(arm, options.entries), options.entries, known):
                pair = take_turns(ours, partial(theirs, task), options.rounds)
                _row(name, pair.base, pair.other, pair.text())
        if "quote" in wanted:
            print(f"\nquote check, means of {QUOTES_IN_A_ROW} in a row: ours, Keylime, ratio")
            for kind, each in quotes.items():
                for name, ours in parts.quotes(each, QUOTES_IN_A_ROW):
                    beside = partial(theirs, f"quote.{kind}")
                    pair = take_turns(ours, beside, 2 * options.rounds)
                    _row(f"{kind} {name}", pair.base, pair.other, pair.text())


def _row(name: str, ours: list[int], theirs: list[int], text: str) -> None:
    print(
        f"  {name:44}{median_ms(ours):>10.4f} ms{median_ms(theirs):>11.4f} ms  {text}", flush=True
    )


def _evidence(
    sessions: dict[str, ArmSession], work: Path, sizes: list[int], wanted: set[str]
) -> None:
    for kind in ARMS:
        for entries in sizes:
            each = case(sessions[kind], entries)
            policy, evidence = work / "policy.json", work / "evidence.cbor"
            policy.write_bytes(encode_policy(each.policy))
            evidence.write_bytes(each.wire)
            print(f"\n{kind}, {entries} IMA entries ({len(each.wire) / 1e6:.2f} MB)")
            command = _verify_worker(policy, evidence)
            if "evidence" in wanted:
                for what in ("cold", "known"):
                    _rates(what, command)
            if "stages" in wanted:
                _stages(each)
            if "memory" in wanted:
                with Worker(command) as worker:
                    peak, imported = worker.ask("once").split()
                print(f"  memory: {peak} MiB peak, {imported} of it before anything is read")


def _verify_worker(policy: Path, evidence: Path) -> list[str]:
    module = "benchmarks.verify_worker"
    return [sys.executable, "-m", module, str(policy), str(evidence), NONCE.hex()]


def _rates(what: str, command: list[str]) -> None:
    """Verifications per second; one process and two take turns."""
    with Worker(command) as first, Worker(command) as second:
        rates: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        for _ in range(_WINDOWS):
            rates[1].append(_rate([first.ask(f"{what} {_WINDOW_S}")]))
            for worker in (first, second):
                worker.tell(f"{what} {_WINDOW_S}")
            rates[2].append(_rate([first.hear(), second.hear()]))
    for processes, found in rates.items():
        clock, cpu = (sorted(values) for values in zip(*found, strict=True))
        print(
            f"  {what:6}{processes} process(es): {_middle(clock)} per second,"
            f" {_middle(cpu)} per CPU second; n={_WINDOWS} windows of {_WINDOW_S:g} s",
            flush=True,
        )


def _rate(answers: list[str]) -> tuple[float, float]:
    """Verifications per second by the clock, all together, and per second of CPU time."""
    counts, clocks, cpus = zip(*(map(float, answer.split()) for answer in answers), strict=True)
    together = sum(count / clock for count, clock in zip(counts, clocks, strict=True))
    return together, sum(counts) / sum(cpus)


def _middle(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({values[0]:.1f} to {values[-1]:.1f})"


def _stages(each: Case) -> None:
    for what in ("cold", "known"):
        stages, signatures, total = parts.stages(each, remembered=what == "known")
        text = ", ".join(f"{name} {value:.3f}" for name, value in stages.items())
        print(f"  {what:6} {total:.3f} ms: {text}; {signatures:.3f} ms of it are signatures")


if __name__ == "__main__":
    main()
