"""The attack matrix: all of it on the process backend, and that it can fail."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from report.html_check import Page

from harness.backends.process import ProcessBackend
from harness.cli import run as run_verb
from harness.cli.main import invoke
from harness.framework.evidence import tpm_public
from harness.framework.verify import measurements, verifier
from harness.model.estimate import AttackResult, CampaignEstimates
from harness.model.record import TrialOutcome, TrialRequest
from harness.scenario import load_scenario
from harness.store import read_estimates
from harness.workloads import attack_matrix, flips
from harness.workloads.security.registry import ATTACKS, load_attacks, refusal_ids

SCENARIO = Path(__file__).parents[2] / "scenarios" / "security.toml"
HEAD = """\
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
"""


def case(row: str, name: str, mounted: str, stage: str = "", *failures: str) -> str:
    expected = f'stage = "{stage}"\nfailures = {json.dumps(failures)}\n' if stage else ""
    return (
        f'[[workloads.cases]]\nrow = "{row}"\ncase = "{name}"\ntitle = "An attack"\n'
        f'mounted = "{mounted}"\n{expected}'
    )


QUOTE = case("T08", "quote-signed-in-software", "evidence", "quote_check", "quote.signature")
LIST = case("T11", "ima-list-truncated", "evidence", "replay", "ima.replay.mismatch")
SOFTWARE_KEY = case("T03", "key-in-software", "deployment", "issuance", "issuance.residency")


class InThisProcess(ProcessBackend):
    """Runs trials here, where a test can break the verifier."""

    def run_trial(self, request: TrialRequest) -> TrialOutcome:
        return attack_matrix.run(request, self._host)

    def run_block(self, requests: Sequence[TrialRequest]) -> list[TrialOutcome]:
        return [self.run_trial(request) for request in requests]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the whole scenario, as a user runs it; fewer changed bytes to save time."""
    folder = tmp_path_factory.mktemp("s")
    text, changed = re.subn(r"flip_every = \d+", "flip_every = 97", SCENARIO.read_text())
    assert changed == 1
    scenario = folder / "security.toml"
    scenario.write_text(text)
    assert invoke(["run", str(scenario), "--results", str(folder / "r"), "--quiet"]) == 0
    return folder / "r" / "security"


@pytest.fixture(scope="module")
def estimates(whole: Path) -> CampaignEstimates:
    return read_estimates(whole)


def test_every_row_of_the_threat_model_is_mounted() -> None:
    scenario, _ = load_scenario(SCENARIO)
    (workload,) = scenario.workloads
    run = [one for one in workload.cases if not one.why_not]
    assert {one.row for one in run} == {f"T{number:02}" for number in range(33)}
    load_attacks()
    assert {one.case for one in run} == set(ATTACKS)
    accepted = {one.case for one in run if not one.failures}
    assert accepted == {"clean-run", "list-grew-during-the-quote", "stale-list-within-its-grace"}


def test_every_attack_ends_as_the_scenario_expects(estimates: CampaignEstimates) -> None:
    amiss = {one.attack.case: one.why for one in estimates.attacks if one.verdict != "as expected"}
    scenario, _ = load_scenario(SCENARIO)
    assert amiss == {one.case: one.why_not for one in scenario.workloads[0].cases if one.why_not}


def test_each_answer_is_timed(estimates: CampaignEstimates) -> None:
    for one in estimates.attacks:
        if one.verdict == "not run":
            assert (one.n, one.detection_ns, one.evidence_bytes) == (0, None, None)
            continue
        assert one.detection_ns is not None
        assert 0 < one.detection_ns < 20e9
        judged = one.stage in (*verifier.STAGES, "")
        assert one.n == (5 if judged else 1)
        assert not judged or one.evidence_bytes is not None


def test_changed_bytes_are_refused_but_in_documented_fields(estimates: CampaignEstimates) -> None:
    flips = estimates.flips
    assert flips is not None
    assert flips.gaps == ()
    assert flips.flips == len(range(0, flips.size_bytes, 97))
    assert flips.rejected + sum(flips.accepted.values()) == flips.flips
    assert flips.rejected > flips.flips / 2


def test_the_report_shows_them(whole: Path, estimates: CampaignEstimates, tmp_path: Path) -> None:
    assert invoke(["report", str(whole), "--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "index.html").read_text()
    page = Page(text)
    assert page.errors == []
    assert "table-attacks" in page.ids
    cells = [content for tag, content in page.texts if tag == "td"]
    ran = [one for one in estimates.attacks if one.verdict != "not run"]
    assert cells.count("as expected") == len(ran)
    assert f"{len(ran) - 3} of {len(ran) - 3} attacks in 32 rows ended as expected" in text
    assert "3 of 3 harmless cases were accepted; 7 more are listed" in text
    assert "its twin without the attack is accepted: holds" in text
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert markdown.count("| as expected |") == len(ran)
    table = (tmp_path / "report" / "tables" / "attacks.csv").read_text().splitlines()
    assert len(table) == 1 + len(estimates.attacks)


def few(
    tmp_path: Path, cases: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, dict[str, AttackResult]]:
    """Exit code and results of a small matrix, run in this process."""
    scenario = tmp_path / "few.toml"
    scenario.write_text(HEAD + cases)
    monkeypatch.setattr(run_verb, "create", lambda _name: InThisProcess())
    code = invoke(["run", str(scenario), "--results", str(tmp_path / "r"), "--quiet"])
    found = read_estimates(tmp_path / "r" / "few").attacks
    return code, {one.attack.case: one for one in found}


def unsigned(*_: object) -> bool:
    return True


def blind(*_: object, **__: object) -> measurements.MeasuredList:
    return measurements.MeasuredList(1)


@pytest.mark.parametrize(
    ("module", "name", "broken", "case_name"),
    [
        (tpm_public, "verify_signature", unsigned, "quote-signed-in-software"),
        (measurements, "replay_ima_log", blind, "ima-list-truncated"),
    ],
    ids=["signature", "replay"],
)
def test_a_check_that_is_missing_shows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: object,
    name: str,
    broken: Callable[..., object],
    case_name: str,
) -> None:
    monkeypatch.setattr(module, name, broken)
    code, found = few(tmp_path, QUOTE + LIST, monkeypatch)
    assert code == 1
    assert {one.verdict for case, one in found.items() if case != case_name} == {"as expected"}
    assert found[case_name].verdict == "not detected"
    out = capsys.readouterr().out
    assert f"{case_name}: it was accepted, expected" in out
    assert "1 of 2 attacks in 2 rows ended as expected" in out


def test_a_wrong_reason_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other_id = case("T08", "quote-signed-in-software", "evidence", "quote_check", "quote.nonce")
    other_stage = LIST.replace('"replay"', '"policy"')
    other_part = SOFTWARE_KEY.replace("issuance.residency", "issuance.attributes")
    code, found = few(tmp_path, other_id + other_stage + other_part, monkeypatch)
    assert code == 1
    assert {one.verdict for one in found.values()} == {"wrong reason"}
    assert found["key-in-software"].failures == ("issuance.residency",)


def test_a_twin_that_is_refused_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verifier that refuses everything detects every attack, and is of no use."""
    signature = tpm_public.verify_signature
    monkeypatch.setattr(tpm_public, "verify_signature", lambda *a: not signature(*a))
    code, found = few(tmp_path, QUOTE + SOFTWARE_KEY, monkeypatch)
    assert code == 1
    assert found["quote-signed-in-software"].verdict == "twin refused"
    assert "quote.signature" in found["quote-signed-in-software"].why
    assert found["key-in-software"].verdict == "as expected"


def test_an_attack_that_cannot_be_mounted_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_attacks()

    def broken(_world: object) -> None:
        raise ValueError("no such place")

    known = ATTACKS["ima-list-truncated"]
    monkeypatch.setitem(ATTACKS, "ima-list-truncated", known._replace(mount=broken))  # type: ignore[arg-type]
    code, found = few(tmp_path, QUOTE + LIST, monkeypatch)
    assert code == 1
    assert found["ima-list-truncated"].verdict == "failed"
    assert found["ima-list-truncated"].why == "ValueError: no such place"
    assert found["quote-signed-in-software"].verdict == "as expected"


def test_a_byte_that_nothing_covers_is_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tpm_public, "verify_signature", unsigned)
    options = "[workloads.options]\nflip_every = 1\n"
    places = range(60, 2000)
    genuine = flips.flip_coverage
    monkeypatch.setattr(attack_matrix, "flip_coverage", lambda *a, **_: genuine(*a, places=places))
    code, _ = few(tmp_path, options + LIST, monkeypatch)
    assert code == 1
    assert re.search(r"gaps: .*quote\.signature", capsys.readouterr().out)


def test_refusals_are_known_by_the_words_of_the_part_that_refused() -> None:
    assert refusal_ids("channel peer: tee.report.binding: not these") == ("tee.report.binding",)
    assert refusal_ids("quote.nonce, freshness.nonce") == ("quote.nonce", "freshness.nonce")
    assert refusal_ids("instance 'a' exists already") == ("launch.instance",)
    assert refusal_ids("something else.entirely") == ("refused.unknown",)


def test_results_survive_their_file(estimates: CampaignEstimates) -> None:
    again = msgspec.json.decode(msgspec.json.encode(estimates), type=CampaignEstimates)
    assert again == estimates


def test_the_documented_numbers_are_those_of_the_scenario() -> None:
    cases = load_scenario(SCENARIO)[0].workloads[0].cases
    attacks = [one for one in cases if one.failures]
    left = [one for one in cases if one.why_not]
    guests = [one for one in left if "scenarios/security-guest.toml" in one.why_not]
    rows = {one.row for one in attacks}
    assert (len(cases) - len(attacks) - len(left), len(left), len(guests)) == (3, 7, 4)
    for name, text in (
        ("README.md", f"mounts {len(attacks)} attacks in {len(rows)} rows of the threat model"),
        ("docs/attacks.md", f"{len(attacks)} attacks in {len(rows)} rows and 3 harmless cases"),
    ):
        assert text in " ".join((SCENARIO.parents[1] / name).read_text().split())


def test_the_documented_table_is_that_of_the_scenario() -> None:
    scenario, _ = load_scenario(SCENARIO)
    rows: dict[str, list[str]] = {}
    for line in (SCENARIO.parents[1] / "docs" / "attacks.md").read_text().splitlines():
        if re.match(r"\| T\d\d \|", line):
            row, _what, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            rows[row] = cells
    cases = [one for one in scenario.workloads[0].cases if not one.why_not]
    assert set(rows) == {one.row for one in cases}
    for row, (count, mounted, stages, failures) in rows.items():
        mine = [one for one in cases if one.row == row]
        assert int(count) == len(mine)
        assert set(mounted.split(", ")) == {one.mounted for one in mine}
        assert set(stages.split(", ")) == {one.stage or "\N{EN DASH}" for one in mine}
        assert set(re.findall(r"`([^`]+)`", failures)) == {f for one in mine for f in one.failures}
