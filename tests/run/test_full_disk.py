"""Disk full, read-only folder, lock: one line, exit 4, and nothing lost."""

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.store import CampaignWriter
from run.campaigns import assert_complete, json_lines, run_text, scenario_text

ROOT = Path(__file__).resolve().parents[2]


def attestbench(*arguments: str, file_limit: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    command = [sys.executable, "-m", "harness.cli.main", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=limit
    )


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system of our own; only root can make one."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def write_scenario(tmp_path: Path, text: str) -> str:
    path = tmp_path / "demo.toml"
    path.write_text(text)
    return str(path)


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 4
    lines = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0]


def test_a_file_that_may_not_grow_ends_the_run_and_keeps_the_trials(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, scenario_text(blocks="blocks = 20"))
    run = ("run", scenario, "--results", str(tmp_path), "--no-analysis")
    done = attestbench(*run, file_limit=12_000)
    assert_one_line(done, "trials.jsonl", "File too large", "every finished trial is kept")
    kept = (tmp_path / "demo/trials.jsonl").read_bytes().count(b"\n")
    assert 5 < kept < 60
    assert attestbench(*run).returncode == 0
    assert_complete(tmp_path / "demo")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_full_disk_ends_the_run_and_keeps_the_trials(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, scenario_text(blocks="blocks = 20", iterations=20))
    disk = tmp_path / "disk"
    with mounted(disk, "-t", "tmpfs", "-o", "size=160k", "tmpfs"):
        run = ("run", scenario, "--results", str(disk), "--no-analysis")
        assert_one_line(attestbench(*run), "No space left", "free some space")
        kept = json_lines_whole(disk / "demo/trials.jsonl")
        assert 0 < kept < 60
        assert_one_line(attestbench(*run), "No space left")
        assert json_lines_whole(disk / "demo/trials.jsonl") >= kept
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        assert attestbench(*run).returncode == 0
        assert_complete(disk / "demo")


def json_lines_whole(path: Path) -> int:
    return path.read_bytes().count(b"\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_read_only_folder_is_one_line_and_status_still_works(tmp_path: Path) -> None:
    text = scenario_text()
    scenario = write_scenario(tmp_path, text)
    run_text(text, tmp_path / "made")
    shared = tmp_path / "shared"
    with mounted(shared, "--bind", "-o", "ro", str(tmp_path / "made")):
        done = attestbench("run", scenario, "--results", str(shared))
        assert_one_line(done, "Read-only file system", "--results")
        assert attestbench("status", "demo", "--results", str(shared)).returncode == 0
        assert attestbench("verify", "demo", "--results", str(shared)).returncode == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, scenario_text())
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    assert_one_line(attestbench("run", scenario, "--results", str(closed)), "Permission denied")


def test_a_results_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, scenario_text())
    (tmp_path / "results").write_text("")
    done = attestbench("run", scenario, "--results", str(tmp_path / "results"))
    assert done.returncode in (2, 4)
    assert done.stderr.count("\n") == 1


def test_a_held_lock_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    text = scenario_text()
    scenario = write_scenario(tmp_path, text)
    run_text(text, tmp_path)
    before = sorted((p, p.read_bytes()) for p in (tmp_path / "demo").rglob("*") if p.is_file())
    with contextlib.closing(CampaignWriter(tmp_path / "demo")):
        done = attestbench("run", scenario, "--results", str(tmp_path))
        assert_one_line(done, "another `attestbench run`")
        found = attestbench("status", "demo", "--results", str(tmp_path))
        assert "running" in found.stdout
    after = sorted((p, p.read_bytes()) for p in (tmp_path / "demo").rglob("*") if p.is_file())
    assert after == before


def test_a_killed_run_holds_no_lock(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, scenario_text(options="sleep_ms = 200"))
    command = [sys.executable, "-m", "harness.cli.main", "run", scenario, "--results"]
    process = subprocess.Popen([*command, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (tmp_path / "demo/trials.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    with contextlib.closing(CampaignWriter(tmp_path / "demo")):
        assert json_lines(tmp_path / "demo/plan.jsonl")
