"""Small fake campaigns, and a reader of results that shares no code with the harness."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.backends import Backend
from harness.backends.fake import FakeBackend
from harness.cli.statistics import CampaignStatistics
from harness.run import Event, RunRequest, RunResult, run_campaign
from harness.scenario import parse_scenario

BASELINE = "base"
COPY = "base+aa"


def scenario_text(
    name: str = "demo",
    seed: int = 1,
    blocks: str = "blocks = 4",
    arms: str = 'slow = "slowdown = 0.1"',
    options: str = "drift_sd = 0.02, trial_sd = 0.005, noise_sd = 0.02",
    iterations: int = 5,
    factors: str = "size = [1]",
    tail: str = "",
) -> str:
    """A scenario of the fake backend; ``arms``: lines of name = "options"."""
    tables = [f'[[arms]]\nname = "{BASELINE}"\nkind = "fake"\n']
    for line in arms.splitlines():
        arm, _, text = line.partition(" = ")
        tables.append(f'[[arms]]\nname = "{arm}"\nkind = "fake"\noptions = {{{text[1:-1]}}}\n')
    return (
        f'name = "{name}"\ntitle = "a fake campaign"\nseed = {seed}\nbackend = "fake"\n'
        f'baseline = "{BASELINE}"\n{"".join(tables)}'
        f'[[workloads]]\nname = "w"\nkind = "fake"\niterations = {iterations}\nwarmup = 2\n'
        f"{blocks}\noptions = {{{options}}}\n[workloads.factors]\n{factors}\n{tail}"
    )


def claim_text(
    candidate: str = "slow", kind: str = "low = 0.08\nhigh = 0.12", size: int = 1
) -> str:
    """A claim about one cell of `scenario_text`; ``kind``: its margins."""
    name = "equivalent" if "low" in kind else "at_most" if "at_most" in kind else "estimate"
    return (
        f'[[claims]]\nid = "claim-{candidate}"\ntitle = "t"\nworkload = "w"\n'
        f'metric = "fake_latency_ns"\npart = "total"\ncandidate = "{candidate}"\n'
        f'kind = "{name}"\n{kind}\nfactors = {{size = {size}}}\n'
    )


def run_text(
    text: str,
    results: Path,
    backend: Backend | None = None,
    observe: Callable[[Event], None] = lambda _event: None,
    **changes: Any,
) -> RunResult:
    """Run a scenario text in this process."""
    scenario = parse_scenario(text, "demo.toml")
    request = RunRequest(scenario, text, "demo.toml", results / scenario.name, compact=False)
    request = request._replace(**changes)
    return run_campaign(request, backend or FakeBackend(), CampaignStatistics(), observe)


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Every line of a file as JSON; fails on anything else."""
    content = path.read_text()
    assert not content or content.endswith("\n")
    return [json.loads(line) for line in content.splitlines()]


def assert_complete(directory: Path) -> None:
    """Each planned trial is recorded exactly once, with all its samples on disk."""
    planned = [trial["trial_id"] for trial in json_lines(directory / "plan.jsonl")]
    recorded = json_lines(directory / "trials.jsonl")
    assert len(set(planned)) == len(planned)
    assert [record["trial_id"] for record in recorded] == planned
    for record in recorded:
        samples = json_lines(directory / "samples" / f"{record['trial_id']}.jsonl")
        assert len(samples) == record["samples"] > 0
        assert {sample["metric"] for sample in samples} == {"fake_latency_ns"}
