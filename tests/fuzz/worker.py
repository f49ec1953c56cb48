"""One coverage-guided process for one target: ``worker TARGET STATUS_FILE LIBFUZZER_ARGUMENT…``."""

import json
import sys
import time
import tracemalloc
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["harness.framework"]):
    from .target import MEMORY_PER_BYTE, Target
    from .targets import TARGETS

# Processor time that no input may exceed: far above what instrumented parsers need.
SECONDS_ONCE, SECONDS_PER_BYTE = 2.0, 100e-6
_WEIGH_EVERY, _WRITE_EVERY = 256, 1000


class Runner:
    """Runs inputs, holds each to the bounds of time and every so many to that of memory."""

    def __init__(self, target: Target, status: Path) -> None:
        self._target, self._status = target, status
        self._inputs, self._slowest_s, self._slowest_size = 0, 0.0, 0
        self._most_per_byte = 0.0

    def __call__(self, data: bytes) -> None:
        self._inputs += 1
        if self._inputs % _WEIGH_EVERY == 0:
            self._weighed(data)
        else:
            self._timed(data)
        if self._inputs % _WRITE_EVERY == 0:
            self.write()

    def write(self) -> None:
        """Leave the numbers behind: the fuzzer ends the process without a way back to Python."""
        status = {
            "inputs": self._inputs,
            "slowest_s": self._slowest_s,
            "slowest_size": self._slowest_size,
            "memory_per_byte": self._most_per_byte,
        }
        self._status.write_text(json.dumps(status))

    def _timed(self, data: bytes) -> None:
        start = time.thread_time()
        self._target.run(data)
        taken = time.thread_time() - start
        if taken > self._slowest_s:
            self._slowest_s, self._slowest_size = taken, len(data)
        limit = SECONDS_ONCE + SECONDS_PER_BYTE * len(data)
        assert taken <= limit, f"{len(data)} bytes took {taken:.3f} s, at most {limit:.3f}"

    def _weighed(self, data: bytes) -> None:
        tracemalloc.start()
        try:
            self._target.run(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        limit = self._target.memory_once + MEMORY_PER_BYTE * len(data)
        assert peak <= limit, f"{len(data)} bytes took {peak} bytes of memory, at most {limit}"
        self._most_per_byte = max(self._most_per_byte, peak / max(len(data), 1024))


def main() -> None:
    """Fuzz until libFuzzer has run as many inputs as it was told to."""
    _, name, status, *arguments = sys.argv
    target = TARGETS[name]
    runner = Runner(target, Path(status))
    mutate = target.mutate

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        return mutate(data, max_size, seed, atheris.Mutate) if mutate else data

    options = {"custom_mutator": mutator} if mutate else {}
    atheris.Setup([sys.argv[0], *arguments], runner, **options)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
