"""kill -9 at random moments: the resumed campaign has each planned trial exactly once."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from run.campaigns import assert_complete, claim_text, json_lines, scenario_text

ROOT = Path(__file__).resolve().parents[2]
KILLS = 100
TEXT = scenario_text(
    blocks="pilot = 4\nmax_blocks = 12",
    options="trial_sd = 0.02, sleep_ms = 2",
    factors="size = [1, 2]",
    tail=claim_text(),
)


class ForkServer:
    """`attestbench` as a process that starts in a millisecond."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fork_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def start(self, arguments: list[str]) -> int:
        return self._ask(" ".join(arguments))

    def exit_code(self) -> int:
        return self._ask("reap")

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, line: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    started = ForkServer()
    started.start(["--help"])  # answers when everything is imported
    assert started.exit_code() == 0
    yield started
    started.close()


def committed(directory: Path) -> list[dict[str, Any]]:
    """Whole lines of trials.jsonl, read without the harness."""
    path = directory / "trials.jsonl"
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    copy = path.with_name("whole-lines")
    copy.write_bytes(whole + b"\n" if whole else b"")
    try:
        return json_lines(copy)
    finally:
        copy.unlink()


def cut_blocks(records: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """Blocks with some but not all of their three trials."""
    counts: dict[tuple[str, int], int] = defaultdict(int)
    for record in records:
        counts[record["cell_id"], record["block"]] += 1
    return {block for block, count in counts.items() if count < 3}


def run_arguments(scenario: Path, results: Path) -> list[str]:
    return ["run", str(scenario), "--results", str(results), "--no-analysis", "--quiet"]


def uninterrupted_seconds(server: ForkServer, arguments: list[str]) -> float:
    """How long the whole campaign takes now, so that kills hit all of it on any machine."""
    begin = time.monotonic()
    server.start(arguments)
    assert server.exit_code() == 0
    return time.monotonic() - begin


def test_a_hundred_kills_lose_and_repeat_nothing(server: ForkServer, tmp_path: Path) -> None:
    scenario = tmp_path / "demo.toml"
    scenario.write_text(TEXT)
    rng = random.Random(20251101)
    kills = 0
    whole_run_s = uninterrupted_seconds(server, run_arguments(scenario, tmp_path / "reference"))
    for campaign in itertools.count():
        results = tmp_path / f"results-{campaign}"
        directory = results / "demo"
        arguments = run_arguments(scenario, results)
        expected_flags: dict[str, bool] = {}
        before: list[dict[str, Any]] = []
        while True:
            child = server.start(arguments)
            time.sleep(rng.uniform(0, whole_run_s / 2))
            os.kill(child, signal.SIGKILL)
            code = server.exit_code()
            assert code in (0, -signal.SIGKILL)
            now = committed(directory)
            assert now[: len(before)] == before
            cut = cut_blocks(before)
            for record in now[len(before) :]:
                expected_flags[record["trial_id"]] = (record["cell_id"], record["block"]) in cut
            before = now
            if code == 0:
                break
            kills += 1
        assert_complete(directory)
        flags = {
            r["trial_id"]: r["interrupted_block"] for r in json_lines(directory / "trials.jsonl")
        }
        assert flags == expected_flags
        if kills >= KILLS:
            break
    # Otherwise every campaign was one lucky run, or none ever got past the start.
    assert 3 <= campaign + 1 <= KILLS / 2


def test_the_real_command_survives_kills(tmp_path: Path) -> None:
    scenario = tmp_path / "demo.toml"
    scenario.write_text(scenario_text(options="sleep_ms = 30", factors="size = [1, 2]"))
    command = [sys.executable, "-m", "harness.cli.main", "run", str(scenario)]
    command += ["--results", str(tmp_path), "--no-analysis"]
    for delay in (0.1, 0.5, 0.7):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "all 24 trials done" in done.stderr
    assert_complete(tmp_path / "demo")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_interrupt_says_how_to_resume(number: int, code: int, tmp_path: Path) -> None:
    scenario = tmp_path / "demo.toml"
    scenario.write_text(scenario_text(options="sleep_ms = 1000"))
    command = [sys.executable, "-m", "harness.cli.main", "run", str(scenario)]
    command += ["--results", str(tmp_path), "--no-analysis", "--json"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in a shell's background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "trial_finished" in line:
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == code
    assert errors.count("\n") == 1
    assert "interrupted after 1 of 12 trials" in errors
    assert f"attestbench run {scenario} --results {tmp_path}" in errors
    assert len(json_lines(tmp_path / "demo/trials.jsonl")) == 1
