"""The run loop in this process: order, faults, pilot, resuming."""

import json
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from harness.backends.fake import FakeBackend
from harness.model.errors import EnvironmentError_, InputError
from harness.model.record import TrialOutcome, TrialRequest
from harness.model.scenario import Scenario
from harness.run import Event, opening, workdir
from harness.run.events import BlockFinished, PlanExtended, TrialFinished, TrialStarted
from run.campaigns import assert_complete, claim_text, json_lines, run_text, scenario_text


class Recorder(FakeBackend):
    """Writes down every call; breaks the machine before trial ``breaks_at``."""

    def __init__(self, breaks_at: int | None = None, error: BaseException | None = None) -> None:
        self.calls: list[str] = []
        self.requests: list[TrialRequest] = []
        self.breaks_at = breaks_at
        self.error = error or EnvironmentError_("no more ports; close some")

    def check(self, scenario: Scenario) -> None:  # noqa: ARG002 - the protocol's signature
        self.calls.append("check")

    def prepare(self, scenario: Scenario, workdir: Path) -> None:  # noqa: ARG002 - as above
        assert list(workdir.iterdir()) == []
        self.calls.append("prepare")

    def run_trial(self, request: TrialRequest) -> TrialOutcome:
        if len(self.requests) == self.breaks_at:
            raise self.error
        folder = Path(request.workdir)
        assert list(folder.iterdir()) == []
        (folder / "state").write_text("left behind")
        self.calls.append("trial")
        self.requests.append(request)
        return super().run_trial(request)

    def close(self) -> None:
        self.calls.append("close")


def test_calls_come_in_order_and_trials_run_as_planned(tmp_path: Path) -> None:
    backend = Recorder()
    run_text(scenario_text(), tmp_path, backend)
    assert backend.calls == ["check", "prepare", *["trial"] * 12, "close"]
    planned = json_lines(tmp_path / "demo/plan.jsonl")
    assert [r.trial_id for r in backend.requests] == [t["trial_id"] for t in planned]
    assert_complete(tmp_path / "demo")


def test_arms_of_a_block_share_the_seed_of_their_input(tmp_path: Path) -> None:
    backend = Recorder()
    run_text(scenario_text(), tmp_path, backend)
    seeds = {(request.block, request.seed) for request in backend.requests}
    assert len(seeds) == 4
    assert {request.arm.name for request in backend.requests} == {"base", "base+aa", "slow"}


def test_trials_leave_nothing_behind(tmp_path: Path) -> None:
    backend = Recorder()
    run_text(scenario_text(), tmp_path, backend)
    folders = [Path(request.workdir) for request in backend.requests]
    assert not any(folder.exists() or folder.parent.exists() for folder in folders)


def test_running_again_runs_nothing(tmp_path: Path) -> None:
    first = run_text(scenario_text(), tmp_path)
    backend = Recorder()
    assert run_text(scenario_text(), tmp_path, backend) == first
    assert backend.calls == ["check"]


def test_faulty_trials_are_kept_with_their_reason(tmp_path: Path) -> None:
    arms = 'slow = "fail = 0.3, reject = 0.3, timeout = 0.3"'
    result = run_text(scenario_text(blocks="blocks = 20", arms=arms), tmp_path)
    records = json_lines(tmp_path / "demo/trials.jsonl")
    statuses = Counter(r["status"] for r in records)
    assert dict(statuses) == result.by_status
    assert set(statuses) == {"ok", "failed", "rejected", "timeout"}
    assert {r["arm"] for r in records if r["status"] != "ok"} == {"slow"}
    assert all(bool(r["reason"]) == (r["status"] != "ok") for r in records)
    assert len(records) == 60


def test_a_broken_machine_aborts_and_the_same_call_goes_on(tmp_path: Path) -> None:
    backend = Recorder(breaks_at=4)
    with pytest.raises(EnvironmentError_, match="no more ports"):
        run_text(scenario_text(), tmp_path, backend)
    assert backend.calls[-1] == "close"
    directory = tmp_path / "demo"
    assert len(json_lines(directory / "trials.jsonl")) == 4
    run_text(scenario_text(), tmp_path)
    assert_complete(directory)
    flagged = [r["interrupted_block"] for r in json_lines(directory / "trials.jsonl")]
    # Trials 4 and 5 finish block 1, which the abort cut; its trial 3 was already on disk.
    assert flagged == [False] * 4 + [True] * 2 + [False] * 6


def test_an_abort_between_blocks_cuts_no_block(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentError_):
        run_text(scenario_text(), tmp_path, Recorder(breaks_at=6))
    run_text(scenario_text(), tmp_path)
    records = json_lines(tmp_path / "demo/trials.jsonl")
    assert not any(record["interrupted_block"] for record in records)


def test_samples_do_not_depend_on_interruptions(tmp_path: Path) -> None:
    run_text(scenario_text(), tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        run_text(scenario_text(), tmp_path / "cut", Recorder(5, KeyboardInterrupt()))
    run_text(scenario_text(), tmp_path / "cut")
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "demo/samples").iterdir()}
        for name in ("straight", "cut")
    )
    assert one == other


def test_pilot_fixes_n_once_and_its_data_are_kept(tmp_path: Path) -> None:
    text = scenario_text(
        blocks="pilot = 8\nmax_blocks = 40",
        options="trial_sd = 0.02",
        tail=claim_text(kind="at_most = 0.14\nexpected = 0.10"),
    )
    events: list[Event] = []
    run_text(text, tmp_path, observe=events.append)
    directory = tmp_path / "demo"
    (decision,) = json.loads((directory / "campaign.json").read_text())["pilot"]
    assert 8 < decision["blocks"] <= 40
    (extended,) = [event for event in events if isinstance(event, PlanExtended)]
    assert extended.planned == 3 * decision["blocks"]
    blocks = Counter(trial["block"] for trial in json_lines(directory / "plan.jsonl"))
    assert blocks == dict.fromkeys(range(decision["blocks"]), 3)
    assert_complete(directory)


@pytest.mark.parametrize("cut_at", [0, 1, 2])
def test_pilot_decision_survives_a_crash_between_its_writes(tmp_path: Path, cut_at: int) -> None:
    text = scenario_text(blocks="pilot = 8", options="trial_sd = 0.02", tail=claim_text())
    run_text(text, tmp_path / "straight")
    run_text(text, tmp_path / "cut")
    directory = tmp_path / "cut/demo"
    straight = tmp_path / "straight/demo"
    plan, trials = directory / "plan.jsonl", directory / "trials.jsonl"
    trials.write_text("".join(trials.read_text().splitlines(keepends=True)[:24]))
    short = "".join(plan.read_text().splitlines(keepends=True)[:24])
    if cut_at == 0:  # killed before the decision
        header = json.loads((directory / "campaign.json").read_text())
        (directory / "campaign.json").write_text(json.dumps({**header, "pilot": []}))
        plan.write_text(short)
    elif cut_at == 1:  # killed between header and plan
        plan.write_text(short)
    else:  # killed while the plan was written, before its rename
        plan.with_name("plan.jsonl.tmp").write_text(short[:100])
    run_text(text, tmp_path / "cut")
    assert_complete(directory)
    assert plan.read_bytes() == (straight / "plan.jsonl").read_bytes()


def test_an_edited_scenario_is_refused(tmp_path: Path) -> None:
    run_text(scenario_text(), tmp_path)
    with pytest.raises(InputError) as caught:
        run_text(scenario_text(iterations=6), tmp_path)
    assert "line 16 differs" in str(caught.value)
    assert "another name" in str(caught.value)


def test_another_machine_is_refused_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvironmentError_):
        run_text(scenario_text(), tmp_path, Recorder(breaks_at=3))
    monkeypatch.setattr(opening, "fingerprint", lambda: "f" * 64)
    with pytest.raises(EnvironmentError_, match=r"another machine.*--allow-other-machine"):
        run_text(scenario_text(), tmp_path)
    run_text(scenario_text(), tmp_path, allow_other_machine=True)
    assert_complete(tmp_path / "demo")
    machines = json.loads((tmp_path / "demo/campaign.json").read_text())["machines"]
    assert len(machines) == 2
    run_text(scenario_text(), tmp_path)


def test_a_plan_of_another_version_is_refused(tmp_path: Path) -> None:
    run_text(scenario_text(), tmp_path)
    plan = tmp_path / "demo/plan.jsonl"
    lines = plan.read_text().splitlines(keepends=True)
    plan.write_text("".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(InputError, match="with the version that began the campaign"):
        run_text(scenario_text(), tmp_path)


def test_events_tell_the_whole_story(tmp_path: Path) -> None:
    events: list[Event] = []
    text = scenario_text(blocks="blocks = 6", tail=claim_text())
    run_text(text, tmp_path, observe=events.append)
    started = [event for event in events if isinstance(event, TrialStarted)]
    finished = [event for event in events if isinstance(event, TrialFinished)]
    blocks = [event for event in events if isinstance(event, BlockFinished)]
    assert [e.trial_id for e in started] == [e.trial_id for e in finished]
    assert [event.done for event in finished] == list(range(1, 19))
    assert finished[-1].eta_s == 0
    assert [event.block for event in blocks] == list(range(6))
    assert [len(event.estimates) for event in blocks] == [0, 0, 0, 1, 1, 1]


def test_a_foreign_working_folder_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    made = workdir.fresh_workdir(tmp_path / "results")
    assert made.stat().st_mode & 0o777 == 0o700
    made.rmdir()
    made.symlink_to(tmp_path)
    with pytest.raises(EnvironmentError_, match="not ours"):
        workdir.fresh_workdir(tmp_path / "results")
