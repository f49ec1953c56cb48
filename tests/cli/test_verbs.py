"""Every verb for people and for programs, and every error as one line with its exit code."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run.campaigns import claim_text, json_lines, run_text, scenario_text

from cli.conftest import Output
from harness.backends import protocol
from harness.backends.fake import FakeBackend
from harness.cli import main as cli_main
from harness.cli.main import VERBS, invoke
from harness.model.errors import InconclusiveError

ROOT = Path(__file__).resolve().parents[2]
TEXT = scenario_text(
    blocks="pilot = 8\nmax_blocks = 12", options="trial_sd = 0.01", tail=claim_text()
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    run_text(TEXT, folder)
    return folder


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "demo.toml"
    path.write_text(TEXT)
    return str(path)


def test_run_prints_events_as_json_lines_and_claims_last(
    output: Output, scenario: str, tmp_path: Path
) -> None:
    text = output.text("run", scenario, "--results", str(tmp_path), "--json")
    events = [json.loads(line) for line in text.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "campaign_started"
    assert kinds[-2:] == ["campaign_finished", "claims"]
    assert kinds.count("plan_extended") == 1
    planned = len(json_lines(tmp_path / "demo/plan.jsonl"))
    assert kinds.count("trial_started") == kinds.count("trial_finished") == planned
    (claim,) = events[-1]["claims"]
    assert claim["claim_id"] == "claim-slow"
    assert events[-1]["emulated"] == ["all latencies"]
    estimates = json.loads((tmp_path / "demo/estimates.json").read_text())
    assert estimates["claims"] == events[-1]["claims"]
    assert [p.name for p in (tmp_path / "demo/samples").iterdir()] == ["samples.parquet"]


def test_run_for_people_shows_blocks_estimates_and_the_table(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["run", scenario, "--results", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert "block 5 of w size=1: claim-slow +" in output.err
    assert "pilot over: w " in output.err
    assert output.out.splitlines()[0].split()[:2] == ["claim", "verdict"]
    assert output.out.splitlines()[1].startswith("claim-slow")
    assert output.out.splitlines()[-1] == "emulated: all latencies"


def test_quiet_prints_the_claims_only(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["run", scenario, "--results", str(tmp_path), "--quiet"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.startswith("claim")
    assert output.out.splitlines()[-1] == "emulated: all latencies"


def test_without_analysis_it_still_says_what_was_emulated(
    output: Output, scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--results", str(tmp_path), "--quiet", "--no-analysis")
    assert output.text("run", scenario, *arguments) == "emulated: all latencies\n"
    monkeypatch.setattr(FakeBackend, "provenance", lambda _self: {"emulated": []})
    other = tmp_path / "other.toml"
    other.write_text(scenario_text(name="other"))
    assert output.text("run", str(other), *arguments) == ""


def test_status(output: Output, results: Path) -> None:
    found = output.json("status", "demo", "--results", str(results))
    lines = json_lines(results / "demo/trials.jsonl")
    assert found["done"] == found["planned"] == len(lines)
    assert found["state"] == "finished"
    assert found["by_status"] == {"ok": len(lines)}
    wall = json_lines(results / "demo/sessions.jsonl")[-1]
    in_trials = sum(line["duration_s"] for line in lines)
    share = 1 - in_trials / (wall["ended_s"] - wall["started_s"])
    assert found["orchestration_share"] == pytest.approx(share)
    assert [one["campaign"] for one in output.json("status", "--results", str(results))] == ["demo"]
    assert "finished" in output.text("status", "--results", str(results))
    assert f"{100 * share:.1f} % of the time no trial ran" in output.text(
        "status", "demo", "--results", str(results)
    )


def test_plan_takes_time_and_spread_from_earlier_results(
    output: Output, scenario: str, results: Path, tmp_path: Path
) -> None:
    fresh = output.json("plan", scenario, "--results", str(tmp_path / "none"))
    assert fresh["trials"] == 8 * 3
    assert "assumed" in fresh["time_source"]
    assert fresh["claims"][0]["source"] == "assumed_sd_log of the scenario"
    known = output.json("plan", scenario, "--results", str(results))
    assert known["time_source"] == "measured in demo"
    assert known["claims"][0]["source"] == "the pilot"
    assert [t["trial_id"] for t in known["order"]] == [
        line["trial_id"] for line in json_lines(results / "demo/trials.jsonl")
    ]
    took = sum(line["duration_s"] for line in json_lines(results / "demo/trials.jsonl"))
    assert known["seconds"] == pytest.approx(took, rel=0.01)


def test_plan_without_a_pilot_takes_the_spread_from_the_estimates(
    output: Output, tmp_path: Path
) -> None:
    path = tmp_path / "demo.toml"
    path.write_text(scenario_text(blocks="blocks = 6", tail=claim_text()))
    assert invoke(["run", str(path), "--results", str(tmp_path), "--quiet"]) == 0
    output.text("status", "demo", "--results", str(tmp_path))
    (claim,) = output.json("plan", str(path), "--results", str(tmp_path))["claims"]
    estimates = json.loads((tmp_path / "demo/estimates.json").read_text())
    assert claim["source"] == "estimates of demo"
    assert claim["sd_log"] == estimates["claims"][0]["estimate"]["sd_log"]


def test_plan_for_people_shows_order_and_detectable_effect(output: Output, scenario: str) -> None:
    text = output.text("plan", scenario, "--order")
    assert "claim-slow: 8 blocks detect +" in text
    assert text.count("→") == 8 * 2
    assert "more blocks" in output.text("plan", scenario)


def test_verify(output: Output, results: Path, tmp_path: Path) -> None:
    found = output.json("verify", "demo", "--results", str(results))
    assert found["problems"] == []
    assert found["samples"] == 8 * found["trials"]
    assert "good" in output.text("verify", "demo", "--results", str(results))


def test_verify_rejects_damage_with_exit_1(output: Output, scenario: str, tmp_path: Path) -> None:
    run_text(TEXT, tmp_path)
    (file,) = (tmp_path / "demo/provenance").iterdir()
    file.write_bytes(file.read_bytes() + b" ")
    error = output.error("verify", "demo", "--results", str(tmp_path), code=1)
    assert "content has SHA-256" in error


def test_verify_holds_estimates_against_the_trials(
    output: Output, scenario: str, tmp_path: Path
) -> None:
    """A last digit may differ on another machine; a changed number may not."""
    folder = ("--results", str(tmp_path))
    assert invoke(["run", scenario, *folder, "--quiet"]) == 0
    path = tmp_path / "demo/estimates.json"
    estimates = json.loads(path.read_text())
    output.text("verify", "demo", *folder)
    point = estimates["claims"][0]["estimate"]["point"]
    estimates["claims"][0]["estimate"]["point"] = point * (1 + 1e-12)
    path.write_text(json.dumps(estimates))
    assert "good" in output.text("verify", "demo", *folder)
    estimates["claims"][0]["estimate"]["point"] = point * 1.01
    path.write_text(json.dumps(estimates))
    error = output.error("verify", "demo", *folder, code=1)
    assert "estimates.json:claims[0].estimate.point: not what analysis makes" in error


def test_export_writes_every_sample(output: Output, results: Path, tmp_path: Path) -> None:
    files = output.json("export", "demo", "--results", str(results), "--out", str(tmp_path / "x"))
    assert {Path(name).name for name in files["files"]} == {
        "trials.csv", "samples.csv", "estimates.csv", "cells.csv",
    }  # fmt: skip
    with (tmp_path / "x/samples.csv").open() as file:
        exported = sorted(
            (r["trial_id"], int(r["iteration"]), float(r["value"])) for r in csv.DictReader(file)
        )
    stored = sorted(
        (path.stem, sample["iteration"], sample["value"])
        for path in (results / "demo/samples").iterdir()
        for sample in json_lines(path)
    )
    assert exported == stored


def test_scenario_list_and_check(output: Output, scenario: str, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("name = 3")
    found = output.json("scenario", "list", "--folder", str(tmp_path))
    assert "name: got 3" in found[0]["error"]
    assert found[1]["name"] == "demo"
    assert "broken:" in output.text("scenario", "list", "--folder", str(tmp_path))
    assert output.json("scenario", "check", scenario)[0]["cells"] == 1
    assert "good" in output.text("scenario", "check", scenario)


def test_doctor(output: Output) -> None:
    found = output.json("doctor")
    assert found["backends"]["fake"] is True
    needed = {one["name"]: one for one in found["findings"] if one["backend"] == "process"}
    assert needed["swtpm"]["apt"] == "swtpm"
    assert all(one["apt"] and one["dnf"] for one in found["findings"])
    assert "process" in output.text("doctor")


def test_doctor_and_set_up_name_the_same_packages() -> None:
    from harness.cli.doctor import NEEDS

    lines = Path(__file__).parents[2].joinpath("scripts/packages.txt").read_text().splitlines()
    listed = {tuple(line.split()[:2]) for line in lines if not line.startswith("#")}
    named = {(need.apt, need.dnf) for need in NEEDS["process"] if not need.apt.startswith("(")}
    assert named <= listed


def test_doctor_names_packages_for_what_is_missing(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = output.json("doctor")
    assert found["backends"]["process"] is False
    text = output.text("doctor")
    assert "apt-get install swtpm swtpm-tools" in text
    assert "dnf install swtpm swtpm-tools" in text


def test_version_and_help(output: Output) -> None:
    assert output.text("--version").startswith("attestbench 0.")
    text = output.text("--help")
    assert all(verb in text for verb in VERBS)


def test_wrong_usage(output: Output, results: Path) -> None:
    assert 'did you mean "status"?' in output.error("stats", code=2)
    assert "--nonsense" in output.error("run", "smoke", "--nonsense", code=2)
    assert "SCENARIO" in output.error("run", code=2)
    assert "expected a .toml file" in output.error("run", "quik", code=2)
    known = output.error("status", "dmo", "--results", str(results), code=2)
    assert 'did you mean "demo"?' in known
    assert "holds no campaign" in output.error("status", "--results", "/nonexistent", code=2)


def test_a_missing_library_is_an_environment_error(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_name: str) -> None:
        raise ImportError("libtss2-esys.so.0: cannot open\nshared object file")

    monkeypatch.setattr(cli_main, "import_module", broken)
    error = output.error("status", code=4)
    assert "libtss2-esys.so.0" in error
    assert "attestbench doctor" in error


def test_a_missing_backend_library_is_an_environment_error(
    output: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "harness.backends.process", None)
    assert protocol.create("fake").name == "fake"
    error = output.error("run", "smoke", "--results", str(tmp_path), code=4)
    assert "the process backend cannot start" in error
    assert not (tmp_path / "smoke").exists()


def test_unexpected_errors_are_one_line_with_a_hint(
    output: Output, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_name: str) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli_main, "import_module", broken)
    error = output.error("status", code=70)
    assert "unexpected ZeroDivisionError: a bug" in error
    assert "ATTESTBENCH_DEBUG=1" in error
    monkeypatch.setenv("ATTESTBENCH_DEBUG", "1")
    assert invoke(["status"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_undecided_is_exit_3(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    def undecided(_name: str) -> None:
        raise InconclusiveError("too few blocks")

    monkeypatch.setattr(cli_main, "import_module", undecided)
    assert output.error("status", code=3).endswith("too few blocks")


def test_a_reader_that_stops_is_no_error(results: Path) -> None:
    command = f"{sys.executable} -m harness.cli.main plan {results}/x.toml --order | head -1"
    (results / "x.toml").write_text(scenario_text(blocks="blocks = 2000"))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, check=False
    )
    assert done.stderr == b""


def test_run_starts_without_heavy_imports(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").write_text(scenario_text())
    code = (
        "import sys; from harness.cli.main import invoke;"
        f"invoke(['run', '{tmp_path}/demo.toml', '--results', '{tmp_path}', '--no-analysis']);"
        "heavy = {'numpy', 'pandas', 'scipy', 'matplotlib', 'pyarrow', 'rich'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == 0
    assert time.monotonic() - begin < 3  # 0.3 s on an idle machine
