"""Balance of the blocks, counted by brute force."""

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.schedule import block_orders

ARMS = ("base", "base+aa", "one", "two", "three", "four", "five", "six")


def orders(count: int, arms: int, seed: str = "s") -> list[tuple[str, ...]]:
    return list(itertools.islice(block_orders(ARMS[:arms], seed), count))


@given(half=st.integers(1, 40), arms=st.integers(2, 8), seed=st.text(max_size=5))
def test_every_pair_of_arms_is_balanced(half: int, arms: int, seed: str) -> None:
    blocks = orders(2 * half, arms, seed)
    assert all(sorted(block) == sorted(ARMS[:arms]) for block in blocks)
    for one, other in itertools.combinations(ARMS[:arms], 2):
        assert sum(block.index(one) < block.index(other) for block in blocks) == half


@given(half=st.integers(1, 30), arms=st.integers(2, 8), seed=st.text(max_size=5))
def test_neighbours_are_reversed(half: int, arms: int, seed: str) -> None:
    blocks = orders(2 * half, arms, seed)
    for first, second in zip(blocks[::2], blocks[1::2], strict=True):
        assert first == second[::-1]


@pytest.mark.parametrize("arms", [2, 3, 4, 5])
@pytest.mark.parametrize("times", [1, 3])
def test_every_order_is_used_equally_often(arms: int, times: int) -> None:
    counts = Counter(orders(times * math.factorial(arms), arms))
    assert len(counts) == math.factorial(arms)
    assert set(counts.values()) == {times}


@given(short=st.integers(1, 30), longer=st.integers(0, 30), arms=st.integers(2, 8))
def test_a_longer_campaign_begins_with_the_shorter_one(short: int, longer: int, arms: int) -> None:
    assert orders(short + longer, arms)[:short] == orders(short, arms)


def test_a_single_arm_has_one_order() -> None:
    assert orders(3, 1) == [orders(1, 1)[0]] * 3


def test_seed_decides() -> None:
    assert orders(24, 4, "a") == orders(24, 4, "a")
    assert orders(24, 4, "a") != orders(24, 4, "b")


def test_first_order_of_a_pair_is_drawn() -> None:
    # Otherwise the first arm of the list would always open the campaign.
    openers = Counter(orders(1, 3, str(seed))[0][0] for seed in range(600))
    assert all(150 < count < 250 for count in openers.values())
