"""What a target is, and what it may cost."""

from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

from .mutators import Mutator

# Bytes of memory per byte of input, and once: what decoding into objects may cost.
MEMORY_PER_BYTE, MEMORY_ONCE = 64, 512 * 1024


class Target(NamedTuple):
    """``run`` takes any bytes of at most ``max_size``; ``mutate`` knows the input's structure.

    ``run`` raises nothing: what a parser may raise is caught in it, and properties that must hold
    of what the parser accepts are asserted in it.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], tuple[bytes, ...]]
    max_size: int
    mutate: Mutator | None = None


def scheme_for(data: bytes) -> str:
    """The policy's scheme to run an input under: always the same one, each for half of them."""
    return ("allow-list", "chain")[crc32(data) & 1]
