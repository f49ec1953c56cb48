"""What a target is, and what it may cost."""

from collections.abc import Callable, Container
from typing import NamedTuple
from zlib import crc32

from .mutators import Mutator

# Bytes of memory per byte of input, and once: what decoding into objects may cost.
MEMORY_PER_BYTE, MEMORY_ONCE = 64, 512 * 1024
# A pattern of a few bytes can name 50,000 places (verify/path_patterns.py).
PATTERN_MEMORY = 16 * 1024 * 1024


class Target(NamedTuple):
    """``run`` takes any bytes of at most ``max_size``; ``mutate`` knows the input's structure.

    ``memory_once`` are the bytes that it may take whatever its input's size.

    ``run`` raises nothing: what a parser may raise is caught in it, and properties that must hold
    of what the parser accepts are asserted in it.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], tuple[bytes, ...]]
    max_size: int
    mutate: Mutator | None = None
    memory_once: int = MEMORY_ONCE


def schemes_for(data: bytes, seeds: Container[bytes]) -> tuple[str, ...]:
    """The policies' schemes to run an input under: both for a seed, else one for half of them."""
    both = ("allow-list", "chain")
    return both if data in seeds else (both[crc32(data) & 1],)
