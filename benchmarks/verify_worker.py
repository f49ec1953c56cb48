"""Verifies one evidence again and again, or once, in a process of its own.

    python -m benchmarks.verify_worker POLICY EVIDENCE NONCE

Answers "cold SECONDS" and "known SECONDS" with the number of verifications in that time (without
anything remembered, and with all of it), the seconds and the CPU seconds. Answers "once" with MiB:
the peak of the process, and what it held before the policy and the evidence were read.
"""

import sys
import time
from pathlib import Path

from harness.framework.verify import Challenge, VerificationCache, load_policy, verify


def peak_mib() -> float:
    """Of this program; getrusage would count what the parent held when it forked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024


def main() -> None:
    imported = peak_mib()
    policy = load_policy(Path(sys.argv[1]).read_bytes())
    wire = Path(sys.argv[2]).read_bytes()
    known = VerificationCache()
    now = time.time()
    challenge = Challenge(bytes.fromhex(sys.argv[3]), now - 1, now + 3600)

    def judge(cache: VerificationCache | None) -> None:
        result = verify(wire, policy, challenge, now, cache)
        if not result.accepted:
            raise SystemExit(f"{sys.argv[2]}: rejected: {result.failures[0]}")

    print("ready", flush=True)
    for line in sys.stdin:
        what, *seconds = line.split()
        if what == "once":
            judge(None)
            print(f"{peak_mib():.1f} {imported:.1f}", flush=True)
            continue
        cache = known if what == "known" else None
        judge(cache)
        count, begin, cpu = 0, time.perf_counter(), time.process_time()
        while (elapsed := time.perf_counter() - begin) < float(seconds[0]):
            judge(cache)
            count += 1
        print(f"{count} {elapsed:.6f} {time.process_time() - cpu:.6f}", flush=True)


if __name__ == "__main__":
    main()
