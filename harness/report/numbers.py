"""Numbers as people read them: rounded to what their interval supports, never further.

An interval is shown to two significant digits of its half-width, and the estimate to the same
place. What is not finite is shown as ``NO_DATA``, never as a number.
"""

import math
from collections.abc import Iterable
from statistics import median

from harness.stats.reducers import counted

NO_DATA = "no data"
UNBOUNDED = "unbounded"
MINUS = "\N{MINUS SIGN}"
NBSP = "\N{NO-BREAK SPACE}"
TIMES = "\N{MULTIPLICATION SIGN}"

MOST_PLACES = 12
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
    point: float,
    low: float,
    high: float,
    scale: float = 1.0,
    signed: bool = False,
    most: int = MOST_PLACES,
) -> tuple[str, str]:
    """Both texts at one precision; ``scale`` divides (1e3 shows ns as µs, 0.01 as percent).

    ``most``: places after the point at most, for intervals that are narrower than anyone cares.
    """
    if not bounded(point):
        return NO_DATA, NO_DATA
    if not bounded(low, high):
        places = min(decimals(abs(point / scale)), most)
        return fixed(point / scale, places, signed), NO_DATA if math.isnan(low) else UNBOUNDED
    places = min(decimals((high - low) / 2 / scale), most)
    point_text, low_text, high_text = (
        fixed(value / scale, places, signed) for value in (point, low, high)
    )
    return point_text, f"[{low_text},{NBSP}{high_text}]"


def percent(fraction: float, signed: bool = False, most: int = MOST_PLACES) -> str:
    """A single fraction as percent with two significant digits: 0.0123 gives "1.2 %"."""
    text = fixed(100 * fraction, min(decimals(abs(100 * fraction)), most), signed)
    return f"{text}{NBSP}%" if bounded(fraction) else text


def percent_places(unit: str) -> int:
    """Places of a percentage at most: counts are exact, and nobody needs a millionth of them."""
    return 3 if counted(unit) else MOST_PLACES


def percent_interval(point: float, low: float, high: float, most: int = MOST_PLACES) -> str:
    """ "+9.8 % [+9.1, +10.5]" from fractions."""
    point_text, interval = estimate_and_interval(point, low, high, 0.01, signed=True, most=most)
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


def short(value: float) -> str:
    """A tick of a long logarithmic axis: 1,000,000 gives "1 M"."""
    scale, suffix = next(
        ((s, t) for s, t in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= s), (1.0, "")
    )
    return f"{value / scale:g}{NBSP}{suffix}".rstrip(NBSP)


def quantity(value: float, unit: str, digits: int = 3) -> str:
    """A value in its natural unit: 41200 ns gives "41.2 µs"."""
    if not bounded(value):
        return NO_DATA if math.isnan(value) else UNBOUNDED
    scale, name = unit_for([value], unit)
    scaled = value / scale
    exponent = math.floor(math.log10(abs(scaled))) if scaled else 0
    return f"{fixed(scaled, max(digits - 1 - exponent, 0))}{NBSP}{name}"
