"""Orders of the arms inside the blocks of one cell.

Orders come in pairs: some order, and in the next block its reverse. So in every pair of blocks
each arm runs before each other arm exactly once, and a drift that is linear over the pair hits
all arms alike.
"""

import itertools
import random
from collections.abc import Iterator

# Up to this many arms all orders are listed and dealt out evenly; 7! = 5,040.
_MAX_LISTED = 7


def block_orders(arms: tuple[str, ...], seed: str) -> Iterator[tuple[str, ...]]:
    """Yield the order of block 0, 1, 2, … without end; the same for the same ``seed``.

    A longer campaign begins with the blocks of a shorter one. Every order has been used equally
    often whenever the number of blocks is a multiple of the number of orders (<= 7 arms).
    """
    rng = random.Random(seed)  # noqa: S311 - a reproducible design, not a secret
    while True:
        for order in _one_of_each_pair(arms, rng):
            pair = [order, order[::-1]]
            rng.shuffle(pair)
            yield from pair


def _one_of_each_pair(arms: tuple[str, ...], rng: random.Random) -> list[tuple[str, ...]]:
    """One order of every {order, reverse} in random sequence; one at a time for many arms."""
    if len(arms) == 1:
        return [arms]
    if len(arms) > _MAX_LISTED:
        return [tuple(rng.sample(arms, len(arms)))]
    rank = {arm: index for index, arm in enumerate(arms)}
    orders = [order for order in itertools.permutations(arms) if rank[order[0]] < rank[order[-1]]]
    rng.shuffle(orders)
    return orders
