"""Numbers as people read them: rounded to what their interval supports, never further.

An interval is shown to two significant digits of its half-width, and the estimate to the same
place. What is not finite is shown as ``NO_DATA``, never as a number.
"""

import math
from collections.abc import Iterable
from statistics import median

NO_DATA = "no data"
UNBOUNDED = "unbounded"
MINUS = "\N{MINUS SIGN}"
NBSP = "\N{NO-BREAK SPACE}"
TIMES = "\N{MULTIPLICATION SIGN}"

_LARGEST = 1e300  # statistics write the largest double where an interval has no end

_TIME_UNITS = ((1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s"))
_BYTE_UNITS = ((1.0, "B"), (2.0**10, "KiB"), (2.0**20, "MiB"), (2.0**30, "GiB"))


def bounded(*values: float) -> bool:
    """True if every value is a number that an interval can end with."""
    return all(math.isfinite(value) and abs(value) < _LARGEST for value in values)


def decimals(half_width: float) -> int:
    """Places after the point that keep two significant digits of ``half_width`` (may be < 0)."""
    if not bounded(half_width) or half_width <= 0:
        return 2
    return 1 - int(f"{half_width:.1e}".split("e")[1])


def fixed(value: float, places: int, signed: bool = False) -> str:
    """``value`` with ``places`` digits after the point and a typographic minus."""
    if math.isnan(value):
        return NO_DATA
    if not bounded(value):
        return UNBOUNDED
    rounded = round(value, places) + 0.0  # + 0.0 turns -0.0 into 0.0
    sign = "+" if signed and rounded > 0 else ""
    return sign + f"{rounded:,.{max(places, 0)}f}".replace("-", MINUS)


def estimate_and_interval(
    point: float, low: float, high: float, scale: float = 1.0, signed: bool = False
) -> tuple[str, str]:
    """Both texts at one precision; ``scale`` divides (1e3 shows ns as µs, 0.01 as percent)."""
    if not bounded(point):
        return NO_DATA, NO_DATA
    if not bounded(low, high):
        places = decimals(abs(point / scale))
        return fixed(point / scale, places, signed), NO_DATA if math.isnan(low) else UNBOUNDED
    places = decimals((high - low) / 2 / scale)
    point_text, low_text, high_text = (
        fixed(value / scale, places, signed) for value in (point, low, high)
    )
    return point_text, f"[{low_text},{NBSP}{high_text}]"


def percent(fraction: float, signed: bool = False) -> str:
    """A single fraction as percent with two significant digits: 0.0123 gives "1.2 %"."""
    text = fixed(100 * fraction, decimals(abs(100 * fraction)), signed)
    return f"{text}{NBSP}%" if bounded(fraction) else text


def percent_interval(point: float, low: float, high: float) -> str:
    """ "+9.8 % [+9.1, +10.5]" from fractions."""
    point_text, interval = estimate_and_interval(point, low, high, 0.01, signed=True)
    return point_text if point_text == NO_DATA else f"{point_text}{NBSP}% {interval}"


def margin_percent(fraction: float) -> str:
    """A margin as its author wrote it: 0.1 gives "10 %", 0.005 gives "0.5 %"."""
    return f"{100 * fraction:.10g}{NBSP}%".replace("-", MINUS)


def unit_for(values: Iterable[float], unit: str) -> tuple[float, str]:
    """Divisor and unit that make the median of ``values`` (in ``unit``) at least one."""
    ladder = {"ns": _TIME_UNITS, "bytes": _BYTE_UNITS, "B": _BYTE_UNITS}.get(unit)
    finite = [abs(value) for value in values if bounded(value)]
    if ladder is None or not finite:
        return 1.0, unit
    middle = median(finite)
    return max((step for step in ladder if step[0] <= middle), default=ladder[0])


def quantity(value: float, unit: str, digits: int = 3) -> str:
    """A value in its natural unit: 41200 ns gives "41.2 µs"."""
    if not bounded(value):
        return NO_DATA if math.isnan(value) else UNBOUNDED
    scale, name = unit_for([value], unit)
    scaled = value / scale
    exponent = math.floor(math.log10(abs(scaled))) if scaled else 0
    return f"{fixed(scaled, max(digits - 1 - exponent, 0))}{NBSP}{name}"
