"""Exclusion patterns mean what ``re.match`` says, in time that paths can't drive up."""

import random
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.framework.errors import PolicyError
from harness.framework.verify.path_patterns import MAX_PATH, PathPatterns

ATOMS = st.sampled_from(
    ["a", "b", "/", ".", r"\.", "[ab]", "[^a/]", r"\d", r"\W", r"[\w.-]", "[a-c\\s]", "^", "$",
     r"\Z", r"\A", "é", "\n"]
)  # fmt: skip
QUANTIFIERS = st.sampled_from(["", "", "*", "+", "?", "*?", "{2}", "{1,3}", "{,2}", "{2,}"])


def patterns() -> st.SearchStrategy[str]:
    def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        group = st.builds("({}){}".format, inner, QUANTIFIERS)
        either = st.builds("(?:{}|{})".format, inner, inner)
        return group | either | st.builds("{}{}".format, inner, inner)

    def is_valid(pattern: str) -> bool:
        try:
            re.compile(pattern)
        except re.error:
            return False
        return True

    atoms = st.builds("{}{}".format, ATOMS, QUANTIFIERS).filter(is_valid)
    return st.recursive(atoms, grow, max_leaves=6).filter(is_valid)


@pytest.mark.oracle
@settings(max_examples=600, deadline=None)
@given(patterns(), st.lists(st.text("ab/.1é _\n", max_size=12), min_size=1, max_size=6))
def test_a_path_matches_exactly_if_re_says_so(pattern: str, paths: list[str]) -> None:
    compiled = PathPatterns(pattern)
    for path in paths:
        assert compiled.match(path) == bool(re.match(pattern, path)), (pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("(/tmp/.*)|(/var/log/.*\\.log$)", "/tmp/x", True),
        ("(/tmp/.*)|(/var/log/.*\\.log$)", "/var/log/a.log", True),
        ("(/tmp/.*)|(/var/log/.*\\.log$)", "/var/log/a.log.1", False),
        ("/tmp", "/tmpfs/evil", True),
        ("tmp", "/tmp", False),
        ("", "/any", True),
        ("a$", "a\n", True),
        (r"a\Z", "a\n", False),
        ("\\d", "\u0663", True),
    ],
)
def test_what_policies_are_made_of(pattern: str, path: str, expected: bool) -> None:
    assert bool(re.match(pattern, path)) == expected
    assert PathPatterns(pattern).match(path) == expected


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(.*)(.*)(.*)(.*)(.*)x", "(a*)*(a*)*b"])
def test_no_path_makes_a_pattern_slow(pattern: str) -> None:
    """``re`` would take longer than the universe exists for the first of them."""
    begin = time.perf_counter()
    assert not PathPatterns(pattern).match("a" * MAX_PATH)
    assert time.perf_counter() - begin < 2


def test_threads_that_share_a_pattern_get_what_one_alone_gets() -> None:
    pattern = "(/tmp/[a-z]+\\.log$)|(.*/[^/]*[0-9]x)|(/é.*)"
    letters = random.Random(2)
    paths = ["/" + "".join(letters.choices("/tmpax09.logé", k=12)) for _ in range(3000)]
    expected = [bool(re.match(pattern, path)) for path in paths]
    shared = PathPatterns(pattern)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: [shared.match(path) for path in paths], range(4)):
            assert found == expected


def test_path_longer_than_the_kernels_is_never_excluded() -> None:
    assert PathPatterns(".*").match("a" * MAX_PATH)
    assert not PathPatterns(".*").match("a" * (MAX_PATH + 1))


def test_memory_of_a_pattern_with_very_many_states_is_bounded() -> None:
    patterns = PathPatterns(".*a.{16}c")
    letters = random.Random(1)
    for _ in range(8):
        assert not patterns.match("".join(letters.choices("ab", k=4000)))
    assert sum(len(places) for places in patterns._sets) < 500_000
    assert patterns.match("a" * 4000 + "c")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (r"(a)\1", "groupref"),
        ("a(?=b)", "assert"),
        ("(?<!b)a", "assert_not"),
        (r"\ba", "at_boundary"),
        ("(?i)a", "flags"),
        ("(?i:a)", "flags"),
        ("(?>a)", "atomic"),
        ("a++", "possessive"),
        ("(", "unterminated"),
        ("(a{3000}){3000}", "more than 50000"),
        ("(" * 3000 + ")" * 3000, "recursion"),
        ("a" * 1024 * 1024 + "a", "1048577 letters"),
    ],
)
def test_patterns_that_cannot_be_run_in_linear_time_are_named(pattern: str, problem: str) -> None:
    with pytest.raises(PolicyError, match=problem) as caught:
        PathPatterns(pattern)
    assert "\n" not in str(caught.value)
