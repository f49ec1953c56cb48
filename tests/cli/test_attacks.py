"""What the verbs make of a campaign of attacks."""

import csv
import json
from pathlib import Path

import msgspec
import pytest
from run.campaigns import json_lines, run_text

from cli.conftest import Output
from harness.backends.fake import FakeBackend
from harness.model.record import AttackOutcome, FlipOutcome, TrialOutcome, TrialRequest

FORGED = AttackOutcome("quote-signed-in-software", "quote_check", ("quote.signature",))
KEY = AttackOutcome("key-in-software", "issuance", ("issuance.residency",))
FLIPS = FlipOutcome(100, 10, 9, {"boot_log[].data": 1}, ())
ATTACKS = """\
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
cases = [
  { row = "T00", case = "clean-run", title = "Nothing", mounted = "deployment" },
  { row = "T08", case = "quote-signed-in-software", title = "Forged", mounted = "evidence", \
stage = "quote_check", failures = ["quote.signature"] },
  { row = "T03", case = "key-in-software", title = "A key", mounted = "deployment", \
stage = "issuance", failures = ["issuance.residency"] },
]
"""


class Matrix(FakeBackend):
    """Says that a case was accepted which must be refused."""

    def run_trial(self, request: TrialRequest) -> TrialOutcome:  # noqa: ARG002 - the protocol's
        outcomes = (AttackOutcome("clean-run"), FORGED, AttackOutcome("key-in-software"))
        return TrialOutcome("ok", notes={"attacks": msgspec.json.encode(outcomes).decode()})


@pytest.fixture
def attacked(tmp_path: Path) -> Path:
    """A campaign of three attacks, one of which got through."""
    run_text(ATTACKS, tmp_path, Matrix())
    return tmp_path / "few"


def note_attacks(campaign: Path, *outcomes: AttackOutcome, flips: FlipOutcome) -> None:
    """Have the trial say that this came of its attacks."""
    (trial,) = json_lines(campaign / "trials.jsonl")
    clean = AttackOutcome("clean-run")
    trial["notes"] = {
        "attacks": msgspec.json.encode((clean, *outcomes)).decode(),
        "flips": msgspec.json.encode(flips).decode(),
    }
    (campaign / "trials.jsonl").write_text(json.dumps(trial) + "\n")


def test_report_ends_as_run_does(attacked: Path, tmp_path: Path, output: Output) -> None:
    """The gates are on attacks and gaps; `report` renders all the same, then says what is wrong."""
    out = ("--out", str(tmp_path / "report"))
    error = output.error("report", str(attacked), *out, code=1)
    assert error == (
        "attestbench: error: few: attacks that did not end as expected: key-in-software; "
        "see the table of attacks"
    )
    assert "not detected" in (tmp_path / "report" / "report.md").read_text()
    note_attacks(attacked, FORGED, KEY, flips=FLIPS)
    assert output.text("report", str(attacked), *out).count("  as expected  ") == 3
    note_attacks(attacked, FORGED, KEY, flips=msgspec.structs.replace(FLIPS, gaps=("x at 9",)))
    error = output.error("report", str(attacked), *out, code=1)
    assert "changed bytes accepted without a documented reason: x at 9" in error


def test_run_without_analysis_says_that_no_gate_is_evaluated(output: Output) -> None:
    assert "No gate is evaluated" in " ".join(output.text("run", "--help").split())


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_export_has_the_reports_attacks_and_no_empty_file(
    attacked: Path, tmp_path: Path, output: Output, kind: str
) -> None:
    out = tmp_path / "tables"
    out.mkdir()
    (out / f"estimates.{kind}").write_text("of an earlier export")
    files = output.json("export", str(attacked), "--out", str(out), "--format", kind)["files"]
    assert {Path(name).name for name in files} == {
        f"{name}.{kind}" for name in ("trials", "cells", "attacks")
    }
    assert {str(path) for path in out.iterdir()} == set(files)


def test_exported_attacks_are_those_of_the_report(
    attacked: Path, tmp_path: Path, output: Output
) -> None:
    output.text("export", str(attacked), "--out", str(tmp_path / "tables"))
    output.error("report", str(attacked), "--out", str(tmp_path / "report"), code=1)
    with (tmp_path / "tables" / "attacks.csv").open() as file:
        exported = list(csv.DictReader(file))
    with (tmp_path / "report" / "tables" / "attacks.csv").open() as file:
        assert exported == list(csv.DictReader(file))
    assert [(row["case"], row["verdict"]) for row in exported] == [
        ("clean-run", "as expected"),
        ("quote-signed-in-software", "as expected"),
        ("key-in-software", "not detected"),
    ]


@pytest.mark.parametrize(
    ("name", "note"), [("attacks", "[{"), ("attacks", '[{"stage": 1}]'), ("flips", "{}")]
)
def test_verify_rejects_notes_that_cannot_be_read(
    attacked: Path, output: Output, name: str, note: str
) -> None:
    assert "good" in output.text("verify", str(attacked))
    (trial,) = json_lines(attacked / "trials.jsonl")
    trial["notes"][name] = note
    (attacked / "trials.jsonl").write_text(json.dumps(trial) + "\n")
    error = output.error("verify", str(attacked), code=1)
    assert f"trials.jsonl:1: note '{name}' can't be read" in error


def test_verify_rejects_estimates_that_say_something_else(attacked: Path, output: Output) -> None:
    output.error("report", str(attacked), "--out", str(attacked / "report"), code=1)
    path = attacked / "estimates.json"
    text = path.read_text()
    assert "good" in output.text("verify", str(attacked))
    assert text.count("not detected") == 1
    path.write_text(text.replace("not detected", "as expected"))
    error = output.error("verify", str(attacked), code=1)
    assert "estimates.json:attacks[2].verdict: not what analysis makes of the trials" in error
    path.write_text(text[:-9])
    assert "estimates.json: damaged: " in output.error("verify", str(attacked), code=1)
