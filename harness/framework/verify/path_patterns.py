"""Regular expressions over paths in time linear in the path, whatever pattern and path are.

Paths come from the machine under attestation, and ``re`` can be made to backtrack for hours. So a
pattern is read by ``re``'s own parser, which keeps its meaning, and then run as an automaton: the
set of all places in the pattern where a match may be. Each set is made once and remembered.
Patterns that no automaton can run (back references, look-around, flags) are refused.
"""

import re
from collections.abc import Callable, Iterable

# Not documented, but unchanged since it was sre_parse; the tests hold it against re.match.
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from harness.framework.errors import PolicyError

MAX_PATH = 4096  # the kernel's PATH_MAX

_MAX_PATTERN, _MAX_PLACES = 1024 * 1024, 50_000
# What is remembered at most: places in sets and ways from set to set; letters.
_MAX_REMEMBERED, _MAX_LETTERS = 500_000, 100_000
# What may hold at a position; "$" also matches before a newline that ends the text.
_BEGIN, _END, _ABSOLUTE_END = 1, 2, 4
_ASSERTIONS = {
    op.AT_BEGINNING: _BEGIN,
    op.AT_BEGINNING_STRING: _BEGIN,
    op.AT_END: _END,
    op.AT_END_STRING: _ABSOLUTE_END,
}
_Test = Callable[[str], bool]
_CATEGORIES: dict[Any, _Test] = {
    op.CATEGORY_DIGIT: str.isdecimal,
    op.CATEGORY_NOT_DIGIT: lambda letter: not letter.isdecimal(),
    op.CATEGORY_SPACE: str.isspace,
    op.CATEGORY_NOT_SPACE: lambda letter: not letter.isspace(),
    op.CATEGORY_WORD: lambda letter: letter.isalnum() or letter == "_",
    op.CATEGORY_NOT_WORD: lambda letter: not (letter.isalnum() or letter == "_"),
}


class _Place(NamedTuple):
    """Somewhere in the pattern, and where it goes on to.

    With ``test`` (a number) it takes a letter, with ``needs`` that must hold at the position.
    """

    following: tuple[int, ...] = ()
    test: int | None = None
    needs: int = 0


class _Reached(NamedTuple):
    """The places that take a letter, and whether the end of the pattern is among those reached."""

    taking: tuple[int, ...]
    matched: bool


class _Set:
    """Places where a match may be, with what is known of how it goes on."""

    __slots__ = ("next", "places", "reached")

    def __init__(self, places: frozenset[int]) -> None:
        self.places = places
        self.reached: dict[int, _Reached] = {}
        self.next: dict[tuple[bytes, int], _Set] = {}


class PathPatterns:
    """Whether a path begins with a match of ``pattern``, as ``re.compile(pattern).match`` says.

    Several threads may share one: whatever they add to it is the same.
    """

    def __init__(self, pattern: str) -> None:
        """Raises PolicyError: no regular expression, too large, or not one for an automaton."""
        if len(pattern) > _MAX_PATTERN:
            raise PolicyError(f"pattern of {len(pattern)} letters, at most {_MAX_PATTERN}")
        try:
            parsed = _parser.parse(pattern)
            builder = _Builder()
            first = builder.sequence(parsed, builder.end)
        except (re.error, RecursionError, OverflowError, _UnsupportedError) as error:
            raise PolicyError(f"pattern {pattern[:80]!r}: {error}") from None
        if parsed.state.flags & ~re.UNICODE.value:
            raise PolicyError(f"pattern {pattern[:80]!r}: flags are not supported")
        self._places, self._tests, self._end = builder.places, builder.tests, builder.end
        self._kinds: dict[bytes, bytes] = {}
        self._letters: dict[str, bytes] = {}
        self._sets: dict[frozenset[int], _Set] = {}
        self._remembered = 0
        self._first = _Set(frozenset([first]))

    def match(self, path: str) -> bool:
        """Whether a beginning of ``path`` matches; no for a path longer than MAX_PATH."""
        if len(path) > MAX_PATH:
            return False
        current, where, last = self._first, _BEGIN, len(path) - 1
        letters = self._letters
        for at, letter in enumerate(path):
            if at == last and letter == "\n":
                where |= _END
            reached = current.reached.get(where) or self._reach(current, where)
            if reached.matched:
                return True
            kind = letters.get(letter)
            key = (self._kind(letter) if kind is None else kind, where)
            current = current.next.get(key) or self._step(current, reached, letter, key)
            if not current.places:
                return False
            where = 0
        return self._reach(current, where | _END | _ABSOLUTE_END).matched

    def _kind(self, letter: str) -> bytes:
        """Which tests a letter passes: all letters of one kind lead to the same places."""
        if len(self._letters) >= _MAX_LETTERS:
            self._letters.clear()
        passed = bytes(test(letter) for test in self._tests)
        kind = self._kinds.setdefault(passed, passed)
        self._letters[letter] = kind
        return kind

    def _reach(self, current: _Set, where: int) -> _Reached:
        seen, taking = set(current.places), []
        left = list(seen)
        while left:
            number = left.pop()
            place = self._places[number]
            if place.test is not None:
                taking.append(number)
            elif place.needs & where == place.needs:
                new = [n for n in place.following if n not in seen]
                seen.update(new)
                left += new
        reached = _Reached(tuple(taking), self._end in seen)
        current.reached[where] = reached
        return reached

    def _step(self, current: _Set, reached: _Reached, letter: str, key: tuple[bytes, int]) -> _Set:
        places = frozenset(
            following
            for number in reached.taking
            if self._tests[self._places[number].test or 0](letter)
            for following in self._places[number].following
        )
        self._remembered += 1 if places in self._sets else len(places) + 1
        if self._remembered > _MAX_REMEMBERED:
            # Sets refer to each other: forget all of them, the first one's memory included.
            self._remembered = len(places) + 1
            self._sets.clear()
            self._first = _Set(self._first.places)
        found = self._sets.setdefault(places, _Set(places))
        current.next[key] = found
        return found


class _UnsupportedError(Exception):
    """What an automaton can't do."""


class _Builder:
    """Turns what ``re`` parsed into places, from the end of the pattern to its beginning."""

    def __init__(self) -> None:
        self.places: list[_Place] = []
        self.tests: list[_Test] = []
        self._numbers: dict[object, int] = {}
        self.end = self._place(_Place())

    def sequence(self, items: Iterable[Any], following: int) -> int:
        """The place where ``items`` begin, which go on at ``following``."""
        for kind, argument in reversed(list(items)):
            following = self._item(kind, argument, following)
        return following

    def _item(self, kind: Any, argument: Any, following: int) -> int:
        if kind in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN):
            return self._letter(kind, argument, following)
        if kind is op.BRANCH:
            starts = tuple(self.sequence(branch, following) for branch in argument[1])
            return self._place(_Place(starts))
        if kind is op.SUBPATTERN:
            _, added, removed, items = argument
            if added or removed:
                raise _UnsupportedError("flags are not supported")
            return self.sequence(items, following)
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, items = argument
            return self._repeat(least, most, items, following)
        if kind is op.AT and argument in _ASSERTIONS:
            return self._place(_Place((following,), needs=_ASSERTIONS[argument]))
        what = argument if kind is op.AT else kind
        raise _UnsupportedError(f"{str(what).lower()} is not supported")

    def _repeat(self, least: int, most: int, items: Any, following: int) -> int:
        if most is op.MAXREPEAT:
            loop = self._place(_Place())
            body = self.sequence(items, loop)
            self.places[loop] = _Place((body, following))
            following = loop
        else:
            rest = following
            for _ in range(most - least):
                rest = self._place(_Place((self.sequence(items, rest), following)))
            following = rest
        for _ in range(least):
            before, following = following, self.sequence(items, following)
            if following == before:  # nothing, however often
                break
        return following

    def _letter(self, kind: Any, argument: Any, following: int) -> int:
        key = (kind, tuple(argument) if isinstance(argument, list) else argument)
        if key not in self._numbers:
            self._numbers[key] = len(self.tests)
            self.tests.append(_test(kind, argument))
        return self._place(_Place((following,), self._numbers[key]))

    def _place(self, place: _Place) -> int:
        if len(self.places) == _MAX_PLACES:
            raise _UnsupportedError(f"more than {_MAX_PLACES} places")
        self.places.append(place)
        return len(self.places) - 1


def _test(kind: Any, argument: Any) -> _Test:
    """Whether a letter is one that this part of the pattern takes."""
    if kind is op.ANY:
        return lambda letter: letter != "\n"
    if kind is op.LITERAL:
        return lambda letter: ord(letter) == argument
    if kind is op.NOT_LITERAL:
        return lambda letter: ord(letter) != argument
    negated = argument[0][0] is op.NEGATE
    tests = [_member(*item) for item in argument[negated:]]
    return lambda letter: any(test(letter) for test in tests) != negated


def _member(kind: Any, argument: Any) -> _Test:
    """Whether a letter is in one part of a set in brackets."""
    if kind is op.RANGE:
        low, high = argument
        return lambda letter: low <= ord(letter) <= high
    if kind is op.CATEGORY:
        return _CATEGORIES[argument]
    return _test(kind, argument)
