"""Every target under random changes, old findings, and bounds of memory and of work."""

import contextlib
import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence import cbor
from harness.framework.tee import azure_format
from harness.framework.verify import load_policy
from harness.framework.verify.keylime_policy import load_runtime_policy
from harness.framework.verify.path_patterns import PathPatterns

from . import seeds
from .target import MEMORY_PER_BYTE, Target
from .targets import TARGETS

# What Python and cryptography may refuse one day; the inputs are meant to be odd.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning"),
]

CORPUS = Path(__file__).parent / "corpus"
# Calls of functions, Python's and C's, that an input may cost: once, and for each of its bytes.
CALLS_ONCE, CALLS_PER_BYTE = 20_000, 20


def edited(data: bytes, max_size: int, choose: random.Random) -> bytes:
    """One to four small edits at random places, as a fuzzer makes them."""
    changed = bytearray(data)
    for _ in range(choose.randint(1, 4)):
        at, size = choose.randrange(len(changed) + 1), choose.choice((1, 1, 2, 4, 16))
        action = choose.randrange(4)
        if action == 0:
            changed[at : at + size] = choose.randbytes(size)
        elif action == 1:
            changed[at:at] = choose.choice((choose.randbytes(size), bytes(size), b"\xff" * size))
        elif action == 2:
            del changed[at : at + size * size]
        else:
            start = choose.randrange(len(changed) + 1)
            changed[at:at] = changed[start : start + size * size]
    return bytes(changed[:max_size])


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Seeds with edits, half of them where the structure is kept, and plain bytes."""

    def mutated(parts: tuple[bytes, int, bool]) -> bytes:
        seed, number, structured = parts
        choose = random.Random(number)
        if structured and target.mutate is not None:
            return target.mutate(seed, target.max_size, number, lambda d, n: edited(d, n, choose))
        return edited(seed, target.max_size, choose)

    numbers = st.integers(0, 2**32 - 1)
    changed = st.tuples(st.sampled_from(target.seeds()), numbers, st.booleans()).map(mutated)
    return changed | st.binary(max_size=min(target.max_size, 512))


def bombs(size: int) -> list[bytes]:
    """Inputs of about ``size`` bytes that claim or unfold to more than they hold."""
    count = size.to_bytes(4)
    return [
        bytes(size),
        b"\xff" * size,
        b"\x9a" + count + b"\x80" * size,
        b"\xba"
        + count
        + b"".join(b"\x19" + n.to_bytes(2) + b"\xa0" for n in range(256, size // 4)),
        b"\x9a" + count + b"\x62\xc3\xa9" * (size // 3),
        b"\x81" * size,
        b"\x5a\x7f\xff\xff\xff" + bytes(size),
        b"[" * size,
        b'{"scheme":"chain","ima":{' + b",".join(b'"%x":[]' % n for n in range(size // 9)) + b"}}",
        b'{"scheme":"chain","tee_rules":{"csv":' + b"[" * size,
        bytes(4) + b"\x0d\0\0\0" + bytes(size),
        (b"\x0a\0\0\0" + b"\1" * 20 + b"\1\0\0\0x" + bytes(4)) * (size // 33),
        b"".join(b"%d 0 0 sha256:00\n" % n for n in range(size // 20)),
        b"\x30\x84" + count + b"\x30\0" * (size // 2),
        b"\x30\x80" * (size // 2),
    ]


def calls(run: Callable[[bytes], None], data: bytes) -> int:
    """How many functions ``run`` calls: a measure of work that no other process disturbs."""
    count = 0

    def counter(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(counter)
    try:
        run(data)
    finally:
        sys.setprofile(None)
    return count


def peak(run: Callable[[bytes], None], data: bytes) -> int:
    """Most bytes of memory that Python held for ``run`` at once."""
    tracemalloc.start()
    try:
        run(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", TARGETS)
def test_changed_inputs_raise_nothing_untyped(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=150, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(inputs(target))
    def run(data: bytes) -> None:
        target.run(data)

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_all_that_was_ever_found(name: str) -> None:
    target = TARGETS[name]
    found = [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    for data in (b"", *target.seeds(), *found):
        assert len(data) <= target.max_size
        target.run(data)


def test_every_file_of_the_corpus_belongs_to_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= {*TARGETS, "README.md"}


@pytest.mark.parametrize("name", TARGETS)
def test_memory_and_work_are_bounded_by_the_size(name: str) -> None:
    target = TARGETS[name]
    target.run(target.seeds()[0])
    for whole in (*target.seeds(), *bombs(1024), *bombs(40_000)):
        data = whole[: target.max_size]
        size = len(data)
        assert peak(target.run, data) <= target.memory_once + MEMORY_PER_BYTE * size, data[:16]
        assert calls(target.run, data) <= CALLS_ONCE + CALLS_PER_BYTE * size, data[:16]


def test_empty_lists_cannot_fill_the_memory() -> None:
    data = b"\x9a" + (1 << 20).to_bytes(4) + b"\x80" * (1 << 20)

    def run(data: bytes) -> None:
        with pytest.raises(ParseError, match="more than 8192 items"):
            cbor.decode(data, len(data))

    assert peak(run, data) < 100_000


def test_a_paravisors_json_may_not_nest() -> None:
    """It is the one JSON that attesters send; what reads it recurses."""
    good = next(one for one in seeds.tee_evidence() if one.tee == "az-snp-vtpm")
    text = b'{"x":' + b"[" * 3000
    head = bytearray(good.report[:1236])
    for at, value in ((8, 1236 + len(text)), (1216, 20 + len(text)), (1232, len(text))):
        head[at : at + 4] = value.to_bytes(4, "little")
    with pytest.raises(ParseError, match=r"HCL runtime data: .*recursion"):
        azure_format.parse_report(bytes(head) + text, azure_format.SNP)


@pytest.mark.parametrize("pattern", ["(){4000000000}", "(a{0}){4000000000}b", "a{4000000000}"])
def test_repeats_in_a_pattern_cost_no_more_than_the_places_they_make(pattern: str) -> None:
    def run(_data: bytes) -> None:
        with contextlib.suppress(PolicyError):
            PathPatterns(pattern)

    assert calls(run, b"") < 1_000_000


@pytest.mark.parametrize("load", [load_policy, load_runtime_policy])
@pytest.mark.parametrize(
    "text",
    [b'{"scheme":"ch\xa4in"}', b'{"scheme":"chain","tee_rules":{"csv":' + b"[" * 100_000],
    ids=["not UTF-8", "nested"],
)
def test_policies_that_are_no_text_or_too_deep_are_refused(
    load: Callable[[bytes], object], text: bytes
) -> None:
    with pytest.raises(PolicyError, match=r"policy: "):
        load(text)
