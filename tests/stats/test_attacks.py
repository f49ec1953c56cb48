"""What came of attacks, held against what the scenario expects."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from harness.model.errors import InputError
from harness.model.estimate import AttackResult
from harness.model.record import AttackOutcome, FlipOutcome, TrialRecord
from harness.model.scenario import Arm, AttackCase, Cell, PlannedTrial, Scenario, Workload
from harness.stats import summary, went_amiss
from harness.stats.attacks import flips_of, judge_attacks

CASE = AttackCase("T08", "forged", "A forged quote", "evidence", "quote_check", ("a.b", "c.d"))
CLEAN = AttackCase("T00", "clean", "No attack", "deployment")
LEFT = AttackCase("T21", "nested", "In a guest", "guest", why_not="needs a guest")
GOOD = AttackOutcome("forged", "quote_check", ("a.b", "c.d"))


@dataclass
class Campaign:
    records: tuple[TrialRecord, ...]
    samples: pd.DataFrame

    directory = Path("results/few")
    cells: dict[str, Cell] = None  # type: ignore[assignment]
    plan: tuple[PlannedTrial, ...] = ()
    trials: pd.DataFrame = None  # type: ignore[assignment]

    @property
    def scenario(self) -> Scenario:
        arm = Arm("framework", "framework")
        cases = (CASE, CLEAN, LEFT)
        workload = Workload("attacks", "attack_matrix", 3, blocks=1, cases=cases)
        return Scenario("few", "Few", 1, "process", "framework", (arm,), (workload,))


def record(name: str, notes: dict[str, str], status: str = "ok", reason: str = "") -> TrialRecord:
    return TrialRecord(
        name, "c", "attacks", "framework", "framework", 0, 0, "", 0.0, 1.0,
        status, "p", 0, reason, notes=notes,  # type: ignore[arg-type]
    )  # fmt: skip


def noted(*outcomes: AttackOutcome) -> dict[str, str]:
    return {"attacks": msgspec.json.encode(outcomes).decode()}


def samples(values: list[tuple[str, str, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(values, columns=["trial_id", "metric", "part", "value"])


def judged(*records: TrialRecord, rows: list[tuple[str, str, str, float]] | None = None) -> dict[
    str, AttackResult
]:  # fmt: skip
    results = judge_attacks(Campaign(records, samples(rows or [])))
    return {one.attack.case: one for one in results}


def verdict(outcome: AttackOutcome) -> str:
    return judged(record("t", noted(outcome, AttackOutcome("clean"))))["forged"].verdict


def test_the_right_reasons_in_any_order_are_as_expected() -> None:
    assert verdict(GOOD) == "as expected"
    assert verdict(msgspec.structs.replace(GOOD, failures=("c.d", "a.b"))) == "as expected"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"failures": (), "stage": ""}, "not detected"),
        ({"failures": ("a.b",)}, "wrong reason"),
        ({"failures": ("a.b", "c.d", "e.f")}, "wrong reason"),
        ({"stage": "chain"}, "wrong reason"),
        ({"twin": "a.b"}, "twin refused"),
        ({"error": "ValueError: no"}, "failed"),
    ],
)
def test_anything_else_is_not(changes: dict[str, object], expected: str) -> None:
    assert verdict(msgspec.structs.replace(GOOD, **changes)) == expected


def test_what_must_be_accepted_may_not_be_refused() -> None:
    found = judged(record("t", noted(GOOD, AttackOutcome("clean", "chain", ("a.b",)))))
    assert found["clean"].verdict == "wrong reason"
    assert "found a.b at chain, expected nothing at no stage" in found["clean"].why


def test_what_was_not_run_is_neither_good_nor_amiss() -> None:
    found = judged(record("t", noted(GOOD, AttackOutcome("clean"))))
    assert (found["nested"].verdict, found["nested"].why) == ("not run", "needs a guest")
    assert went_amiss(tuple(found.values())) == ()


def test_what_must_be_accepted_is_not_counted_as_an_attack() -> None:
    good = judged(record("t", noted(GOOD, AttackOutcome("clean"))))
    text = "1 of 1 attacks in 1 row ended as expected, 1 of 1 harmless cases were accepted"
    assert summary(tuple(good.values())) == text
    bad = judged(record("t", noted(GOOD, AttackOutcome("clean", "chain", ("a.b",)))))
    assert summary(tuple(bad.values())).endswith(", 0 of 1 harmless cases were accepted")
    assert summary((good["forged"],)) == "1 of 1 attacks in 1 row ended as expected"


def test_one_trial_amiss_is_amiss() -> None:
    good = record("a", noted(GOOD, AttackOutcome("clean")))
    bad = record("b", noted(AttackOutcome("forged"), AttackOutcome("clean")))
    found = judged(good, bad)
    assert found["forged"].verdict == "not detected"
    assert found["clean"].verdict == "as expected"


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (record("t", {}, "failed", "trial.exit.1 gone"), "trial.exit.1 gone"),
        (record("t", {}, "timeout"), "the trial was timeout"),
        (record("t", {"attacks": "[{"}), "the trial's note can't be read"),
        (record("t", noted(AttackOutcome("clean"))), "no trial has run it"),
    ],
)
def test_a_trial_that_broke_down_is_amiss(broken: TrialRecord, why: str) -> None:
    found = judged(broken)["forged"]
    assert found.verdict == "failed"
    assert found.why.startswith(why)


def test_no_trial_at_all_is_amiss() -> None:
    assert judged()["forged"].verdict == "failed"


def test_times_are_medians_of_the_repetitions() -> None:
    rows = [("t", "attack_detection_ns", "forged", value) for value in (5.0, 1.0, 90.0)]
    rows.append(("t", "attack_evidence_bytes", "forged", 17.0))
    rows.append(("other", "attack_detection_ns", "forged", 1e9))
    found = judged(record("t", noted(GOOD, AttackOutcome("clean"))), rows=rows)
    assert (found["forged"].detection_ns, found["forged"].n) == (5.0, 3)
    assert found["forged"].evidence_bytes == 17
    assert (found["clean"].detection_ns, found["clean"].n) == (None, 0)


def test_changed_bytes_are_read_from_the_note() -> None:
    flips = FlipOutcome(100, 10, 9, {"boot_log[].data": 1}, ())
    noted_flips = {"flips": msgspec.json.encode(flips).decode()}
    assert flips_of(Campaign((record("t", noted_flips),), samples([]))) == flips
    assert flips_of(Campaign((record("t", {}),), samples([]))) is None
    with pytest.raises(InputError, match="trial t: its note 'flips' can't be read"):
        flips_of(Campaign((record("t", {"flips": "{"}),), samples([])))
