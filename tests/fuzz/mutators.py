"""Changes that keep an input's outer structure, so that what lies inside it is reached.

They read with cbor2 and struct, not with the parsers under test: those are instrumented, which
would make a change cost more than the run that it is for.
"""

import random
import struct
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import pairwise
from typing import Any

import cbor2

# Changes bytes without knowing what they are, to at most so many.
Plain = Callable[[bytes, int], bytes]
# Input, most bytes of the result, seed of every choice, and the change for what has no structure.
Mutator = Callable[[bytes, int, int, Plain], bytes]

_NOT_CBOR = (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError)
_HEAD_BYTES, _SIZE = 28, struct.Struct("<I")


def cbor_mutator(data: bytes, max_size: int, seed: int, plain: Plain) -> bytes:
    """Change one value of a CBOR item, or put another value of it in its place."""
    choose = random.Random(seed)
    try:
        item: Any = [_known(cbor2.loads(data))]
    except _NOT_CBOR:
        return plain(data, max_size)
    places = list(_places(item))
    holder, key = choose.choice(places)
    if choose.random() < 0.2:
        other, its_key = choose.choice(places)
        holder[key] = deepcopy(other[its_key])
    else:
        holder[key] = _changed(holder[key], choose, plain, max_size)
    try:
        made = cbor2.dumps(item[0], canonical=True)
    except _NOT_CBOR:
        return plain(data, max_size)
    return made if len(made) <= max_size else plain(data, max_size)


def _known(item: Any) -> Any:
    """Evidence's few types; of what else CBOR has, None."""
    if isinstance(item, dict):
        return {key: _known(item[key]) for key in item if isinstance(key, int | str | bytes)}
    if isinstance(item, list):
        return [_known(one) for one in item]
    return item if isinstance(item, int | str | bytes) else None


def _places(item: Any) -> Iterator[tuple[Any, Any]]:
    """Every value below ``item`` as its container and key."""
    for key in range(len(item)) if isinstance(item, list) else list(item):
        yield item, key
        if isinstance(item[key], dict | list):
            yield from _places(item[key])


def _changed(value: Any, choose: random.Random, plain: Plain, max_size: int) -> Any:
    if isinstance(value, bytes):
        return plain(value, max(len(value) + 8, 16)) if len(value) < max_size else b""
    if isinstance(value, str):
        return plain(value.encode(), len(value) + 8).decode("utf-8", "replace")
    if isinstance(value, int) and not isinstance(value, bool):
        return choose.choice([0, 1, 23, 24, 255, 256, 2**16, 2**32, 2**64 - 1, value ^ 1])
    if isinstance(value, list):
        return value + value[:1] if choose.random() < 0.5 else value[1:]
    if not isinstance(value, dict):
        return choose.choice([None, True, False, 0, b"", "", [], {}])
    kept = dict(value)
    if kept and choose.random() < 0.5:
        kept.pop(choose.choice(list(kept)))
    else:
        kept[choose.choice([0, 23, 24, "x", "version"])] = choose.choice([None, 0, b"", "", [], {}])
    return kept


def entry_mutator(data: bytes, max_size: int, seed: int, plain: Plain) -> bytes:
    """Drop, double, move or change one entry of an IMA list."""
    choose = random.Random(seed)
    ends = [0, *_ends(data)]
    if len(ends) < 3 or choose.random() < 0.3:
        return plain(data, max_size)
    entries = [data[start:end] for start, end in pairwise(ends)]
    at, to = (choose.randrange(len(entries)) for _ in range(2))
    entry = entries[at]
    action = choose.randrange(4)
    if action in (0, 2):
        del entries[at]
    if action in (1, 2):
        entries.insert(to, entry)
    if action == 3:
        entries[at] = plain(entry, len(entry) + 8)
    return (b"".join(entries) + data[ends[-1] :])[:max_size]


def _ends(data: bytes) -> Iterator[int]:
    """Where each whole entry ends: PCR, SHA-1, name's size, name, data's size, data."""
    at = 0
    while at + _HEAD_BYTES <= len(data):
        name_at = at + _HEAD_BYTES
        at = name_at + _SIZE.unpack_from(data, name_at - 4)[0]
        if data[name_at:at] == b"ima":  # a digest without a size, then the path
            at += 20
        if at + 4 > len(data):
            return
        at += 4 + _SIZE.unpack_from(data, at)[0]
        if at > len(data):
            return
        yield at
