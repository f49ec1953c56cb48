"""Wording of scenario errors: ``file: key: found, expected, nearest valid name``."""

import datetime
import difflib
import json
from collections.abc import Iterable

from harness.model.errors import InputError

_MAX_SHOWN = 60


def problem(file: str, key: str, text: str) -> InputError:
    """The error for ``key`` of ``file``; always one line."""
    return InputError(" ".join(f"{file}: {key}: {text}".split()))


def wrong_value(file: str, key: str, found: object, expected: str) -> InputError:
    """The error for a value of the wrong type or outside its range."""
    return problem(file, key, f"got {describe(found)}, expected {expected}")


def unknown_name(file: str, key: str, found: object, what: str, known: Iterable[str]) -> InputError:
    """The error for a name that is none of ``known``; proposes the nearest one."""
    names = sorted(known)
    text = f"got {describe(found)}, expected {what} ({', '.join(names) or 'none is defined'})"
    return problem(file, key, text + nearest(str(found), names))


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` for the nearest of ``known``, or nothing when none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{matches[0]}"?' if matches else ""


def describe(value: object) -> str:
    """The value as TOML would show it, cut short, with its TOML type."""
    if isinstance(value, bool):
        return f"{str(value).lower()} (boolean)"
    if isinstance(value, int):
        return f"{_cut(str(value))} (integer)"
    if isinstance(value, float):
        return f"{value} (float)"
    if isinstance(value, str):
        return f"{_cut(json.dumps(value, ensure_ascii=False))} (string)"
    if isinstance(value, list):
        return f"an array of {len(value)} values" if value else "an empty array"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, (datetime.date, datetime.time)):
        return f"{value} (date or time)"
    return f"a {type(value).__name__}"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
