"""Adjusted p values against statsmodels."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from harness.stats.multiplicity import benjamini_hochberg, holm

# statsmodels collects garbage at every call, so examples are dear.
p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@pytest.mark.oracle
@settings(derandomize=True, deadline=None, max_examples=25)
@given(p_lists)
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


@pytest.mark.oracle
@settings(derandomize=True, deadline=None, max_examples=25)
@given(p_lists)
def test_benjamini_hochberg_equals_statsmodels(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="fdr_bh")[1]
    assert benjamini_hochberg(p_values) == pytest.approx(expected, abs=1e-12)


def test_nothing_to_adjust() -> None:
    assert holm([]) == []
    assert benjamini_hochberg([]) == []
