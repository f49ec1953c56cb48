"""One trial works at a time, every trial equally often, and none waits for one that is gone."""

import socket
import threading
from collections import Counter
from itertools import pairwise

import pytest

from harness.model.errors import EnvironmentError_
from harness.workloads.turns import Turns, conduct


class Trials:
    """Threads that take turns and note who worked; ``overlaps`` counts two at once."""

    def __init__(self, turns: list[int]) -> None:
        self.log: list[int] = []
        self.overlaps = 0
        self._working = threading.Lock()
        self.streams = []
        self.threads = []
        for name, count in enumerate(turns):
            ours, theirs = socket.socketpair()
            self.streams.append(ours)
            thread = threading.Thread(target=self._run, args=(name, count, theirs.detach()))
            self.threads.append(thread)
            thread.start()

    def _run(self, name: int, count: int, descriptor: int) -> None:
        turns = Turns(descriptor)
        for _ in range(count):
            turns.next()
            if not self._working.acquire(blocking=False):
                self.overlaps += 1
                continue
            self.log.append(name)
            self._working.release()
        turns.close()

    def conduct(self, seed: int = 3) -> None:
        conduct(self.streams, seed, lambda: 10.0)
        for thread in self.threads:
            thread.join(10)


def test_each_round_gives_every_trial_one_turn_in_an_order_of_its_own() -> None:
    trials = Trials([40, 40, 40])
    trials.conduct()
    assert trials.overlaps == 0
    rounds = [tuple(trials.log[i : i + 3]) for i in range(0, 120, 3)]
    assert all(sorted(one) == [0, 1, 2] for one in rounds)
    assert len(set(rounds)) == 6
    assert max(Counter(rounds).values()) < 20


def test_the_order_follows_the_seed() -> None:
    logs = []
    for seed in (1, 1, 2):
        trials = Trials([10, 10])
        trials.conduct(seed)
        logs.append(trials.log)
    assert logs[0] == logs[1] != logs[2]


def test_a_trial_that_ends_early_does_not_hold_up_the_others() -> None:
    trials = Trials([2, 10])
    trials.conduct()
    assert Counter(trials.log) == {0: 2, 1: 10}
    assert all(pair == (1, 1) for pair in pairwise(trials.log[4:]))


def test_nobody_waits_for_ever() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        conduct([ours], 1, lambda: 0.0)


def test_a_trial_whose_controller_is_gone_says_so() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    turns = Turns(theirs.detach())
    with pytest.raises((EnvironmentError_, BrokenPipeError)):
        turns.next()


def test_a_sequential_trial_never_waits() -> None:
    turns = Turns(-1)
    turns.next()
    turns.close()
