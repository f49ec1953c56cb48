"""TOML tables to the model's structs, driven by the structs' own types.

msgspec could convert by itself, but its messages know neither the range of a value nor the
nearest valid key; so the types are read with ``msgspec.inspect`` and checked here.
"""

import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
from msgspec import inspect

from harness.model.scenario import Arm, AttackCase, Claim, NoiseGate, Scenario, Workload
from harness.scenario.errors import nearest, problem, unknown_name, wrong_value

_S = TypeVar("_S", bound=msgspec.Struct)


class Rule(NamedTuple):
    """Extra limits of one field beyond its type."""

    low: float = -math.inf
    high: float = math.inf
    pattern: str = ""
    meaning: str = ""


_NAME = Rule(
    pattern=r"[a-z0-9][a-z0-9._-]{0,63}",
    meaning="a name of 1 to 64 characters a-z, 0-9, '.', '_', '-', beginning with a-z or 0-9",
)
_TEXT = Rule(pattern=r"(?s).*\S.*", meaning="a text that is not empty")

RULES: dict[tuple[type, str], Rule] = {
    (Scenario, "name"): _NAME,
    (Scenario, "title"): _TEXT,
    (Scenario, "seed"): Rule(low=0, high=2**63 - 1),
    (Scenario, "assumed_sd_log"): Rule(low=1e-6, high=10),
    (Arm, "name"): _NAME,
    (Workload, "name"): _NAME,
    (AttackCase, "row"): Rule(pattern=r"T[0-9]{2}", meaning="a row as T00"),
    (AttackCase, "case"): _NAME,
    (AttackCase, "title"): _TEXT,
    (Workload, "iterations"): Rule(low=1, high=1_000_000),
    (Workload, "warmup"): Rule(low=0, high=1_000_000),
    (Workload, "blocks"): Rule(low=1, high=10_000),
    (Workload, "pilot"): Rule(low=4, high=10_000),
    (Workload, "max_blocks"): Rule(low=4, high=10_000),
    (Workload, "timeout_s"): Rule(low=0.1, high=86_400),
    (Claim, "id"): _NAME,
    (Claim, "title"): _TEXT,
    (Claim, "at_most"): Rule(low=-0.9, high=100),
    (Claim, "low"): Rule(low=-0.9, high=100),
    (Claim, "high"): Rule(low=-0.9, high=100),
    (Claim, "expected"): Rule(low=-0.9, high=100),
    (NoiseGate, "max_load"): Rule(low=0, high=1e6),
    (NoiseGate, "max_steal_percent"): Rule(low=0, high=100),
    (NoiseGate, "max_swap_in_pages"): Rule(low=0, high=1e12),
    (NoiseGate, "wait_s"): Rule(low=0, high=3600),
}


def convert_struct(file: str, table: object, cls: type[_S], at: str = "") -> _S:
    """Convert a TOML table to ``cls``; InputError names ``file`` and the key below ``at``."""
    if not isinstance(table, dict):
        raise wrong_value(file, at, table, f"a table ([{at}])")
    fields = {field.name: field for field in _fields(cls)}
    for key in table:
        if key not in fields:
            hint = nearest(key, fields) or f"; known keys: {', '.join(fields)}"
            raise problem(file, _join(at, key), f"unknown key{hint}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        rule = RULES.get((cls, name), Rule())
        if name in table:
            values[name] = _convert(file, table[name], field.type, _join(at, name), rule)
        elif field.required:
            expected = _expected(field.type, rule)
            raise problem(file, _join(at, name), f"missing, expected {expected}")
    return cls(**values)


def _fields(cls: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    return cast(inspect.StructType, inspect.type_info(cls)).fields


def _join(at: str, key: str) -> str:
    shown = key if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) else repr(key[:64])
    return f"{at}.{shown}" if at else shown


def _convert(file: str, raw: object, kind: inspect.Type, at: str, rule: Rule) -> object:
    match kind:
        case inspect.StructType():
            return convert_struct(file, raw, kind.cls, at)
        case inspect.VarTupleType():
            if not isinstance(raw, list):
                raise wrong_value(file, at, raw, "an array")
            items = enumerate(raw)
            return tuple(_convert(file, v, kind.item_type, f"{at}[{i}]", rule) for i, v in items)
        case inspect.DictType():
            if not isinstance(raw, dict):
                raise wrong_value(file, at, raw, "a table")
            pairs = raw.items()
            return {k: _convert(file, v, kind.value_type, _join(at, k), rule) for k, v in pairs}
        case inspect.LiteralType():
            if raw not in kind.values:
                names = [str(value) for value in kind.values]
                raise unknown_name(file, at, raw, "one of", names)
            return raw
        case _:
            return _convert_scalar(file, raw, kind, at, rule)


def _convert_scalar(file: str, raw: object, kind: inspect.Type, at: str, rule: Rule) -> object:
    wanted = _scalar_types(kind)
    # TOML has one way to write a whole number, so 1 is fine where a float is expected.
    value = float(raw) if float in wanted and int not in wanted and type(raw) is int else raw
    if type(value) not in wanted or not _within(value, rule):
        raise wrong_value(file, at, raw, _expected(kind, rule))
    return value


def _scalar_types(kind: inspect.Type) -> set[type]:
    types: dict[type, type] = {
        inspect.BoolType: bool,
        inspect.IntType: int,
        inspect.FloatType: float,
        inspect.StrType: str,
    }
    members: Iterable[inspect.Type] = kind.types if isinstance(kind, inspect.UnionType) else [kind]
    return {types[type(member)] for member in members if type(member) in types}


def _within(value: object, rule: Rule) -> bool:
    if isinstance(value, str):
        return not rule.pattern or re.fullmatch(rule.pattern, value) is not None
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return not isinstance(value, (int, float)) or rule.low <= value <= rule.high


def _expected(kind: inspect.Type, rule: Rule) -> str:
    if rule.meaning:
        return rule.meaning
    if isinstance(kind, inspect.VarTupleType):
        return "an array"
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(f'"{value}"' for value in kind.values)
    types = _scalar_types(kind)
    if len(types) > 1:
        return "a string, a finite number or a boolean"
    names = {bool: "true or false", int: "an integer", float: "a finite number", str: "a string"}
    return names[types.pop()] + _range_text(rule)


def _range_text(rule: Rule) -> str:
    if math.isinf(rule.low):
        return ""
    if rule.high >= 10_000:
        return f" >= {rule.low:g}" if rule.low >= 0 else f" from {rule.low:g} to {rule.high:g}"
    return f" from {rule.low:g} to {rule.high:g}"
