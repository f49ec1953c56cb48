"""Two programs on one machine, in turns: what others do there then hits both alike."""

import statistics
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

from harness.stats.paired import Overhead, overhead

Timed = Callable[[], int]


class Pair(NamedTuple):
    """Nanoseconds of both in each round, and +1 where the second one ran second, else -1."""

    base: list[int]
    other: list[int]
    order: list[int]

    @property
    def fit(self) -> Overhead:
        """The ratio other/base with its interval, free of the effect of going second."""
        return overhead(self.base, self.other, self.order)

    def text(self) -> str:
        """Ratio, 95 % interval and number of rounds."""
        low, high = self.fit.interval()
        return f"{1 + self.fit.point:.2f} [{1 + low:.2f}, {1 + high:.2f}] n={len(self.base)}"


def take_turns(base: Timed, other: Timed, rounds: int) -> Pair:
    """Run both ``rounds`` times, after once that doesn't count; who goes first alternates."""
    base(), other()
    times: tuple[list[int], list[int]] = ([], [])
    order = [1 if number % 2 == 0 else -1 for number in range(rounds)]
    for second in order:
        for which in (0, 1) if second > 0 else (1, 0):
            times[which].append((base, other)[which]())
    return Pair(*times, order)


def median_ms(values: Sequence[int]) -> float:
    """Median of nanoseconds, in milliseconds."""
    return statistics.median(values) / 1e6


class Worker:
    """A program that answers each line with one; use it as a context manager."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.greeting = self._answer()

    def ask(self, line: str) -> str:
        """Send a line and wait for the answer."""
        self.tell(line)
        return self._answer()

    def tell(self, line: str) -> None:
        """Send a line; :meth:`ask` with the next one would mix the answers up."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        """The answer to what was told."""
        return self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended with {self._process.wait(30)}")
        return str(line).strip()
