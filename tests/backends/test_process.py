"""Trials in their own processes: outcomes come back, and nothing is left running."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from harness.backends.process import ProcessBackend
from harness.model.errors import EnvironmentError_
from harness.model.record import TrialRequest
from harness.model.scenario import Arm, Cell, Scalar, Scenario, Workload
from harness.workloads.tpm_operations import OPERATION_NAMES, RANDOM_TIME

BASELINE = Arm("software-tpm", "software-tpm")


def request(
    workdir: Path,
    kind: str,
    iterations: int = 2,
    timeout_s: float = 60.0,
    factors: dict[str, Scalar] | None = None,
) -> TrialRequest:
    workload = Workload("w", kind, iterations=iterations, timeout_s=timeout_s)
    return TrialRequest("t", Cell("c", "w", factors or {}), workload, BASELINE, 5, str(workdir))


def processes_below(workdir: Path) -> list[str]:
    """Command lines of living processes that name ``workdir``: a trial and its swtpm both do."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(workdir) in line and int(entry.parent.name) != os.getpid():
            found.append(line)
    return found


def wait_until(condition: object, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if callable(condition) and condition():
            return True
        time.sleep(0.02)
    return False


def block(workdir: Path, iterations: int, timeout_s: float = 60.0) -> list[TrialRequest]:
    requests = []
    for folder, name in (("a", "software-tpm"), ("b", "software-tpm+aa")):
        (workdir / folder).mkdir()
        one = request(workdir / folder, "attestation", iterations, timeout_s, {"ima_entries": 3})
        requests.append(msgspec.structs.replace(one, arm=Arm(name, "software-tpm")))
    return requests


def test_a_block_takes_turns(tmp_path: Path) -> None:
    outcomes = ProcessBackend().run_block(block(tmp_path, iterations=9))
    assert [(one.status, one.reason) for one in outcomes] == [("ok", "")] * 2
    for outcome in outcomes:
        total = [one for one in outcome.samples if one.part == "total" and one.unit == "ns"]
        assert [one.phase for one in total] == ["first", *["measured"] * 9]
    assert processes_below(tmp_path) == []


def test_a_slow_block_is_ended_whole(tmp_path: Path) -> None:
    outcomes = ProcessBackend().run_block(block(tmp_path, iterations=100_000, timeout_s=2.0))
    assert [one.status for one in outcomes] == ["timeout"] * 2
    assert wait_until(lambda: processes_below(tmp_path) == [])


def test_launches_are_timed_and_weighed(tmp_path: Path) -> None:
    outcome = ProcessBackend().run_trial(
        request(tmp_path, "vtpm_launch", factors={"instances": 2, "ak": "ecc256"})
    )
    assert outcome.status == "ok", outcome.reason
    by_part = {(one.part, one.iteration): one.value for one in outcome.samples}
    for index in (0, 1):
        stages = [by_part[part, index] for part in ("manufacture", "endorsement", "ak")]
        assert 0 < sum(stages) <= by_part["total", index]
        assert 500_000 < by_part["pss", index] <= by_part["rss", index]
    assert processes_below(tmp_path) == []


def test_pytest_benchmark_gives_every_operation(tmp_path: Path) -> None:
    outcome = ProcessBackend().run_trial(request(tmp_path, "tpm_commands", iterations=3))
    assert outcome.status == "ok", outcome.reason
    assert {one.part for one in outcome.samples} == set(OPERATION_NAMES)
    assert all(1e3 < one.value < 60e9 for one in outcome.samples)
    counted = set(OPERATION_NAMES) - RANDOM_TIME
    assert json.loads(outcome.notes["round_trips"]) == dict.fromkeys(counted, 1)


def test_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    outcome = ProcessBackend().run_trial(
        request(tmp_path, "attestation", iterations=1_000_000, timeout_s=1.5)
    )
    assert outcome.status == "timeout"
    assert wait_until(lambda: not processes_below(tmp_path), 3)


def test_a_killed_controller_leaves_nothing_running(tmp_path: Path) -> None:
    job = tmp_path / "request.json"
    job.write_bytes(msgspec.json.encode(request(tmp_path, "attestation", iterations=1_000_000)))
    code = (
        "import msgspec, sys; from harness.backends.process import ProcessBackend as B;"
        "from harness.model.record import TrialRequest as R;"
        "B().run_trial(msgspec.json.decode(open(sys.argv[1],'rb').read(), type=R))"
    )
    controller = subprocess.Popen([sys.executable, "-c", code, str(job)])
    started = wait_until(lambda: any("swtpm socket" in line for line in processes_below(tmp_path)))
    controller.send_signal(signal.SIGKILL)
    controller.wait()
    assert started
    assert wait_until(lambda: not processes_below(tmp_path))


def test_unknown_workload_is_the_machines_fault_not_a_measurement(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentError_, match="no workload 'guest_boot'"):
        ProcessBackend().run_trial(request(tmp_path, "guest_boot"))


def test_check_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    arms = (BASELINE, Arm("framework", "framework"))
    scenario = Scenario("s", "s", 1, "process", "software-tpm", arms, ())
    with pytest.raises(EnvironmentError_) as caught:
        ProcessBackend().check(scenario)
    assert "swtpm, swtpm_setup" in str(caught.value)
    assert "apt-get install swtpm swtpm-tools" in str(caught.value)
