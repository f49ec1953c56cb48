"""The attacks in a report that also has claims: what is said when one went amiss."""

from pathlib import Path

import msgspec
import pytest

from harness.model.estimate import AttackResult
from harness.model.record import FlipOutcome
from harness.model.scenario import AttackCase
from harness.report import render
from harness.report.attacks import attacks_headline, attacks_sentence, attacks_table, flips_sentence
from harness.report.data import Dataset

from .conftest import Rendered
from .html_check import Page

FORGED = AttackCase("T08", "forged", "A <forged> quote", "evidence", "chain", ("a.b", "c.d"))
CLEAN = AttackCase("T00", "clean", "No attack", "deployment")
LEFT = AttackCase("T21", "nested", "In a guest", "guest", why_not="needs a guest")
GOOD = AttackResult(FORGED, "as expected", "chain", ("a.b", "c.d"), 2_345_678.0, 5, 17_000)
FLIPS = FlipOutcome(17_000, 2_000, 1_990, {"boot_log[].data": 10}, ())


def with_attacks(report: Rendered, *attacks: AttackResult, flips: FlipOutcome = FLIPS) -> Dataset:
    estimates = msgspec.structs.replace(report.estimates, attacks=attacks, flips=flips)
    return Dataset(report.campaign, estimates)


@pytest.fixture
def results() -> tuple[AttackResult, ...]:
    clean = AttackResult(CLEAN, "as expected", "", (), 1e6, 5, 16_000)
    return GOOD, clean, AttackResult(LEFT, "not run", why="needs a guest")


def test_the_claim_holds_when_all_ended_as_expected(
    report: Rendered, results: tuple[AttackResult, ...]
) -> None:
    data = with_attacks(report, *results)
    assert attacks_sentence(data).endswith(
        "is accepted: holds, n = 1 attacks and 1 harmless cases."
    )
    assert attacks_headline(data).startswith(
        "1 of 1 attacks in 1 row ended as expected, 1 of 1 harmless cases were accepted; "
    )
    assert "1 more are listed" in attacks_headline(data)


def test_the_claim_fails_and_names_what_went_amiss(
    report: Rendered, results: tuple[AttackResult, ...]
) -> None:
    amiss = msgspec.structs.replace(GOOD, verdict="not detected", why="it was accepted")
    data = with_attacks(report, amiss, *results[1:])
    assert "is accepted: fails (forged), n = 1 attacks and 1 harmless" in attacks_sentence(data)
    assert attacks_headline(data).startswith("0 of 1 attacks in 1 row ended")


def test_each_row_says_what_was_found(report: Rendered, results: tuple[AttackResult, ...]) -> None:
    twin = msgspec.structs.replace(GOOD, verdict="twin refused", why="without the attack: x.y")
    cells = attacks_table(with_attacks(report, *results, twin)).cells
    assert cells[0] == (
        "T08", "A <forged> quote (forged)", "evidence", "chain", "a.b, c.d", "2.35", "17,000",
        "accepted", "as expected",
    )  # fmt: skip
    assert cells[1][4] == "accepted, as it must be"
    assert cells[2][2:] == ("guest", *["\N{EN DASH}"] * 5, "not run: needs a guest")
    assert cells[3][-2:] == ("refused", "twin refused: without the attack: x.y")


def test_changed_bytes_are_counted_and_gaps_named(
    report: Rendered, results: tuple[AttackResult, ...]
) -> None:
    text = flips_sentence(with_attacks(report, *results))
    assert "1,990 of 2,000 changes were refused" in text
    assert "boot_log[].data (10)" in text
    gap = msgspec.structs.replace(FLIPS, gaps=("quote.signature at 9 ^ 0x01",))
    text = flips_sentence(with_attacks(report, *results, flips=gap))
    assert "Gaps of the verifier: quote.signature at 9 ^ 0x01." in text


def test_the_page_has_claims_and_attacks(
    report: Rendered, results: tuple[AttackResult, ...], tmp_path: Path
) -> None:
    data = with_attacks(report, *results)
    render(data.campaign, data.estimates, tmp_path)
    text = (tmp_path / "index.html").read_text()
    page = Page(text)
    assert page.errors == []
    assert {"attacks", "table-attacks", "table-claims", "figures", "tables"} <= set(page.ids)
    assert "A &lt;forged&gt; quote" in text
    assert "holds, n = 1 attacks and 1 harmless cases." in (tmp_path / "claims.md").read_text()
