"""The commands of the section "Reproduce" work from a checkout."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.report.data import Dataset
from harness.report.method import reproduce
from harness.scenario import find_scenario

from .conftest import Rendered

ROOT = Path(__file__).resolve().parents[2]


def commands(report: Rendered, file: str, text: str) -> list[str]:
    header = msgspec.structs.replace(report.campaign.header, scenario_file=file, scenario_text=text)
    return reproduce(Dataset(replace(report.campaign, header=header), report.estimates))


def test_a_scenario_of_the_project_is_run_by_its_name(
    report: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "scenarios" / "security.toml").read_text()
    assert "attestbench run security" in commands(report, "security.toml", text)
    monkeypatch.chdir(ROOT)
    assert find_scenario("security").read_text() == text


def test_any_other_is_run_from_where_the_report_keeps_it(report: Rendered) -> None:
    text = report.campaign.header.scenario_text
    assert "attestbench run reports/synthetic/scenario.toml" in commands(report, "mine.toml", text)
    changed = (ROOT / "scenarios" / "security.toml").read_text() + "# changed\n"
    lines = commands(report, "security.toml", changed)
    assert "attestbench run reports/synthetic/scenario.toml" in lines
    assert report.text("scenario.toml") == text
    page = report.text("index.html")
    assert page.count('href="scenario.toml"') == 2
    assert "attestbench run reports/synthetic/scenario.toml" in page
