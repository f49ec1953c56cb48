import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.numbers import (
    NBSP,
    NO_DATA,
    UNBOUNDED,
    decimals,
    estimate_and_interval,
    fixed,
    margin_percent,
    percent,
    percent_interval,
    quantity,
    unit_for,
)


def plain(text: str) -> str:
    return text.replace(NBSP, " ").replace("−", "-")  # noqa: RUF001 - the minus that is shown


@pytest.mark.parametrize(
    ("point", "low", "high", "expected"),
    [
        (0.0983, 0.0912, 0.1054, "+9.83 % [+9.12, +10.54]"),
        (0.098, 0.078, 0.118, "+9.8 % [+7.8, +11.8]"),
        (-0.004, -0.021, 0.013, "-0.4 % [-2.1, +1.3]"),
        (1.597, 1.578, 1.615, "+159.7 % [+157.8, +161.5]"),
        (13.4, 12.1, 14.7, "+1,340 % [+1,210, +1,470]"),
        (0.0001, -0.0299, 0.0301, "0.0 % [-3.0, +3.0]"),
    ],
)
def test_an_interval_is_shown_to_two_digits_of_its_half_width(
    point: float, low: float, high: float, expected: str
) -> None:
    assert plain(percent_interval(point, low, high)) == expected


@given(st.floats(1e-9, 1e9), st.floats(-1e9, 1e9))
def test_rounding_keeps_two_digits_of_the_half_width_and_no_more(half: float, value: float) -> None:
    step = 10.0 ** -decimals(half)
    assert 9.4 < half / step < 99.6
    shown = float(plain(fixed(value, decimals(half))).replace(",", ""))
    assert abs(shown - value) <= 0.5000001 * step + 1e-9 * abs(value)


@pytest.mark.parametrize("point", [math.nan, math.inf, 1.7976931348623157e308])
def test_an_estimate_without_data_never_shows_as_a_number(point: float) -> None:
    assert percent_interval(point, 0.1, 0.2) == NO_DATA
    assert not any(c.isdigit() for c in percent(point) + fixed(point, 2) + quantity(point, "ns"))


def test_an_interval_without_an_end_says_so() -> None:
    point, interval = estimate_and_interval(0.5, -1.0, 1.7976931348623157e308, 0.01)
    assert (point, interval) == ("50", UNBOUNDED)
    assert estimate_and_interval(0.5, math.nan, math.nan)[1] == NO_DATA


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (41_200.0, "ns", "41.2 µs"),
        (999.0, "ns", "999 ns"),
        (2.5e9, "ns", "2.50 s"),
        (0.0, "ns", "0.00 ns"),
        (274877906944.0, "B", "256 GiB"),
        (7.0, "entries", "7.00 entries"),
    ],
)
def test_a_quantity_is_shown_in_its_natural_unit(value: float, unit: str, expected: str) -> None:
    assert plain(quantity(value, unit)) == expected


def test_a_column_gets_the_unit_of_its_median() -> None:
    assert unit_for([24e3, 31e3, 61e6], "ns") == (1e3, "µs")
    assert unit_for([], "ns") == (1.0, "ns")
    assert unit_for([math.nan], "B") == (1.0, "B")


def test_a_margin_is_shown_as_it_was_written() -> None:
    assert plain(margin_percent(0.1)) == "10 %"
    assert plain(margin_percent(0.005)) == "0.5 %"
