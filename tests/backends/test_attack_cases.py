"""Scenarios that are wrong about their attacks: refused by every verb before anything starts."""

from pathlib import Path

import pytest

from harness.backends.attack_cases import check_attacks
from harness.cli.main import invoke
from harness.scenario import load_scenario
from harness.workloads.security.registry import OTHER_STAGES

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
HEAD = """\
name = "few"
title = "A few attacks"
seed = 7
backend = "{backend}"
baseline = "framework"
arms = [{{ name = "framework", kind = "framework" }}]

[[workloads]]
name = "attacks"
kind = "{kind}"
iterations = 2
blocks = 1
[[workloads.cases]]
row = "T00"
case = "left-out"
title = "t"
mounted = "none"
why_not = "only listed"
[[workloads.cases]]
title = "t"
"""
ON_DEPLOYMENT = HEAD.format(backend="process", kind="attack_matrix") + (
    'row = "T08"\ncase = "quote-signed-in-software"\nmounted = "evidence"\n'
    'stage = "quote_check"\nfailures = ["quote.signature"]\n'
)
IN_GUEST = HEAD.format(backend="qemu", kind="guest_attacks") + (
    'row = "T20"\ncase = "run-through-setns"\nmounted = "guest"\n'
    'stage = "replay"\nfailures = ["ima.container.file", "ima.container.digest"]\n'
)
AT = "workloads[0].cases[1]"
WRONG = [
    (ON_DEPLOYMENT, "signed-in", "singed-in", f"{AT}.case", 'mean "quote-signed-in-software"?'),
    (ON_DEPLOYMENT, '"T08"', '"T09"', f"{AT}.row", 'expected "T08", the row of attack "quote-s'),
    (ON_DEPLOYMENT, '"evidence"', '"deployment"', f"{AT}.mounted", 'expected "evidence"'),
    (ON_DEPLOYMENT, "quote_check", "qoute_check", f"{AT}.stage", 'did you mean "quote_check"?'),
    (ON_DEPLOYMENT, "quote_check", "zzz", f"{AT}.stage", "known: chain, channel, decode, device"),
    (ON_DEPLOYMENT, "quote.sig", "quote.sgi", f"{AT}.failures[0]", 'mean "quote.signature"?'),
    (ON_DEPLOYMENT, 'kind = "framework"', 'kind = "no-channel"', "arms[0].kind", '"framework"'),
    (IN_GUEST, "through", "trough", f"{AT}.case", 'did you mean "run-through-setns"?'),
    (IN_GUEST, '"T20"', '"T21"', f"{AT}.row", 'expected "T20"'),
    (IN_GUEST, '"replay"', '"device"', f"{AT}.stage", 'got "device" (string), expected a stage'),
    (IN_GUEST, "container.digest", "container.disgest", f"{AT}.failures[1]", "did you mean"),
    (IN_GUEST, 'kind = "framework"', 'kind = "software-tpm"', "arms[0].kind", '"framework"'),
]


@pytest.mark.parametrize("verb", ["scenario check", "plan", "run"])
@pytest.mark.parametrize(("text", "right", "wrong", "key", "says"), WRONG)
def test_a_typo_is_refused_before_anything_starts(
    text: str,
    right: str,
    wrong: str,
    key: str,
    says: str,
    verb: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "few.toml"
    assert right in text
    path.write_text(text.replace(right, wrong))
    assert invoke([*verb.split(), str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"attestbench: error: {path}: {key}: got ")
    assert says in line
    assert [one.name for one in tmp_path.iterdir()] == ["few.toml"]


@pytest.mark.parametrize("text", [ON_DEPLOYMENT, IN_GUEST])
def test_without_a_typo_it_is_accepted(text: str, tmp_path: Path) -> None:
    path = tmp_path / "few.toml"
    path.write_text(text)
    assert invoke(["scenario", "check", str(path)]) == 0


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_projects_scenarios_are_good(path: Path) -> None:
    check_attacks(str(path), load_scenario(path)[0])


def test_every_other_stage_is_one_of_an_attack() -> None:
    (workload,) = load_scenario(SCENARIOS / "security.toml")[0].workloads
    assert set(OTHER_STAGES) <= {case.stage for case in workload.cases}
