"""The matrix of booted guests, with guests that only say how they ended (test_qemu boots them)."""

import json
from pathlib import Path

import pytest

from harness.backends.guest_attacks import HIDING, run_attacks
from harness.backends.guest_files import Artifacts, GuestJob
from harness.model.errors import InputError
from harness.model.record import TrialOutcome, TrialRequest
from harness.model.scenario import Arm, AttackCase, Cell, Workload
from harness.scenario import load_scenario

SCENARIO = Path(__file__).resolve().parents[2] / "scenarios" / "security-guest.toml"
CASES = (
    AttackCase("T21", "nested-unshare-in-a-guest", "t", "guest", "replay", ("ima.container.file",)),
    AttackCase("T20", "run-through-setns", "t", "guest", "replay", ("ima.container.file",)),
)


def job(folder: Path, *cases: AttackCase) -> GuestJob:
    of = Workload("attacks", "guest_attacks", iterations=3, warmup=0, blocks=1, cases=cases)
    arm = Arm("framework", "framework")
    request = TrialRequest("t", Cell("c", "attacks", {}), of, arm, 1, str(folder))
    return GuestJob(request, Artifacts({}, ""))


def refused(reason: str) -> TrialOutcome:
    notes = {
        "refused_at": "replay",
        "verification_ns": "1500",
        "evidence_names": "evidence,console",
    }
    return TrialOutcome("rejected", reason=reason, evidence=(b"e" * 7, b"log"), notes=notes)


class Guests:
    """Answers in turn, and remembers what each was told."""

    def __init__(self, *answers: TrialOutcome) -> None:
        self.told: list[TrialRequest] = []
        self._answers = list(answers)

    def __call__(self, asked: GuestJob) -> TrialOutcome:
        assert Path(asked.request.workdir).is_dir()
        self.told.append(asked.request)
        return self._answers.pop(0)


def attacks(outcome: TrialOutcome) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(outcome.notes["attacks"])
    return found


def test_the_honest_guest_comes_first_and_every_case_has_one_of_its_own(tmp_path: Path) -> None:
    guests = Guests(TrialOutcome("ok"), refused("ima.container.file"), refused("a.b,c.d"))
    outcome = run_attacks(job(tmp_path, *CASES), guests)
    assert [told.workload.options for told in guests.told] == [
        {}, {"hide": "nested"}, {"hide": "setns"},
    ]  # fmt: skip
    assert {told.workload.kind for told in guests.told} == {"guest_attestation"}
    assert {told.workload.iterations for told in guests.told} == {3}
    assert len({told.workdir for told in guests.told}) == 3
    nested, setns = attacks(outcome)
    assert (nested["stage"], nested["failures"]) == ("replay", ["ima.container.file"])
    assert (setns["failures"], setns["twin"]) == (["a.b", "c.d"], "")
    assert [(one.metric, one.part, one.value) for one in outcome.samples] == [
        ("attack_detection_ns", CASES[0].case, 1500.0),
        ("attack_evidence_bytes", CASES[0].case, 7.0),
        ("attack_detection_ns", CASES[1].case, 1500.0),
        ("attack_evidence_bytes", CASES[1].case, 7.0),
    ]
    names = outcome.notes["evidence_names"].split(",")
    assert names[0] == f"{CASES[0].case}.evidence"
    assert len(names) == len(outcome.evidence) == 4


def test_guests_that_end_otherwise_are_told_apart(tmp_path: Path) -> None:
    """An attack that was accepted, those whose guests broke down, and a twin that was refused."""
    guests = Guests(
        TrialOutcome("rejected", reason="quote.nonce"),
        TrialOutcome("ok"),
        TrialOutcome("timeout", reason="no end after 180 s"),
    )
    accepted, broken = attacks(run_attacks(job(tmp_path, *CASES), guests))
    assert (accepted["failures"], accepted["twin"]) == ([], "quote.nonce")
    assert broken["error"] == "the guest timeout: no end after 180 s"
    malformed = Guests(
        TrialOutcome("ok"), refused("a.b"), TrialOutcome("rejected", reason="guest.output x,y")
    )
    again = tmp_path / "again"
    again.mkdir()
    assert attacks(run_attacks(job(again, *CASES), malformed))[1]["failures"] == []


def test_without_an_honest_guest_nothing_else_is_booted(tmp_path: Path) -> None:
    guests = Guests(TrialOutcome("timeout", reason="no end after 180 s"))
    outcome = run_attacks(job(tmp_path, *CASES), guests)
    assert (outcome.status, outcome.notes) == ("failed", {})
    assert outcome.reason == "the honest guest timeout: no end after 180 s"


def test_a_case_that_no_guest_plays_is_refused_before_any_boots(tmp_path: Path) -> None:
    stranger = AttackCase("T01", "run-through-setns", "t", "guest")
    with pytest.raises(InputError, match="attack T01 run-through-setns: guests play T20 "):
        run_attacks(job(tmp_path, stranger), Guests())


def test_the_scenario_has_every_attack_that_guests_play() -> None:
    (workload,) = load_scenario(SCENARIO)[0].workloads
    assert {(case.row, case.case) for case in workload.cases} == set(HIDING)
