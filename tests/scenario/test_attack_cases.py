"""What a scenario must say about its attacks."""

import pytest

from harness.model.errors import InputError
from harness.scenario import parse_scenario

GOOD = """\
name = "few"
title = "A few attacks"
seed = 7
backend = "process"
baseline = "framework"
arms = [{ name = "framework", kind = "framework" }]

[[workloads]]
name = "attacks"
kind = "attack_matrix"
iterations = 2
blocks = 1
[[workloads.cases]]
row = "T08"
case = "quote"
title = "A forged quote"
mounted = "evidence"
stage = "quote_check"
failures = ["quote.signature"]
[[workloads.cases]]
row = "T00"
case = "clean"
title = "No attack"
mounted = "deployment"
[[workloads.cases]]
row = "T21"
case = "nested"
title = "In a guest"
mounted = "guest"
why_not = "needs a guest"
"""


def test_cases_are_read_in_order() -> None:
    (workload,) = parse_scenario(GOOD).workloads
    assert [one.case for one in workload.cases] == ["quote", "clean", "nested"]
    assert workload.cases[0].failures == ("quote.signature",)
    assert workload.cases[1].stage == ""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('row = "T08"', 'row = "8"', "cases[0].row: got"),
        ('case = "clean"', 'case = "quote"', 'cases[1].case: got "quote" again'),
        ('mounted = "guest"', 'mounted = "host"', "cases[2].mounted: got"),
        ('stage = "quote_check"\n', "", "cases[0].stage: expected both stage and failures"),
        ('["quote.signature"]', "[]", "cases[0].stage: expected both stage and failures"),
        ('["quote.signature"]', '["a.b", "a.b"]', "cases[0].failures: got a failure twice"),
        ('why_not = "needs a guest"\n', "", "cases[2].why_not: got none"),
        ('mounted = "guest"', 'mounted = "evidence"', "cases[2].why_not: got a reason"),
        ('title = "No attack"', 'title = " "', "cases[1].title"),
        ('kind = "attack_matrix"', 'kind = "tpm_commands"', "tpm_commands runs no attacks"),
    ],
)
def test_wrong_cases_are_refused(old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(InputError) as caught:
        parse_scenario(GOOD.replace(old, new))
    assert says in str(caught.value)


def test_a_matrix_without_attacks_is_refused() -> None:
    with pytest.raises(InputError, match=r"cases: got an empty array, expected at least one"):
        parse_scenario(GOOD[: GOOD.index("[[workloads.cases]]")])
