"""Campaigns of old formats load for ever, with exactly the values that were written."""

import shutil
from pathlib import Path

import pytest

from harness.store import check_campaign, load_campaign, orchestration

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture(params=["v1-lines", "v1-parquet"])
def golden(request: pytest.FixtureRequest) -> Path:
    return GOLDEN / str(request.param)


def test_trials(golden: Path) -> None:
    campaign = load_campaign(golden)
    trials = campaign.trials
    assert len(campaign.plan) == 12
    assert list(trials["status"]) == ["failed"] + ["ok"] * 9
    assert list(trials["reason"]) == ["fake.failed"] + [""] * 9
    assert list(trials["flagged"]) == [i == 2 for i in range(10)]
    assert trials["flags"][2] == "load"
    assert list(trials["interrupted_block"]) == [False] * 8 + [True] * 2
    assert list(trials["started_s"]) == [2.0 * i for i in range(10)]
    assert set(trials["duration_s"]) == {1.5}
    assert list(trials["block"]) == [i // 3 for i in range(10)]
    assert list(trials["position"]) == [i % 3 for i in range(10)]
    assert set(trials["arm"]) == {"base", "base+aa", "slow"}
    assert campaign.records[1].notes == {"round_trips": '{"total": 1}'}


def test_samples(golden: Path) -> None:
    campaign = load_campaign(golden)
    samples = campaign.samples
    assert list(samples.columns) == [
        "trial_id", "metric", "part", "phase", "iteration", "value", "unit", "clock",
    ]  # fmt: skip
    assert list(samples["value"]) == [1000.0 * i + k for i in range(1, 10) for k in (0, 1)]
    assert list(samples["phase"]) == ["first", "measured"] * 9
    assert list(samples["trial_id"]) == [
        record.trial_id for record in campaign.records[1:] for _ in range(2)
    ]


def test_the_rest(golden: Path) -> None:
    campaign = load_campaign(golden)
    assert campaign.scenario.title == "Golden campaign of format 1"
    assert [cell.workload for cell in campaign.cells.values()] == ["w"]
    assert list(campaign.provenance.values()) == [{"backend": "fake", "emulated": [], "host": {}}]
    assert check_campaign(golden)[1] == []
    times = orchestration(golden)
    assert (times.wall_s, times.trial_s) == (20.0, 15.0)
    assert times.share == pytest.approx(0.25)


def test_both_forms_hold_the_same(tmp_path: Path) -> None:
    lines, parquet = (load_campaign(GOLDEN / name) for name in ("v1-lines", "v1-parquet"))
    assert lines.records == parquet.records
    assert lines.samples.equals(parquet.samples)
    assert (lines.samples.dtypes == parquet.samples.dtypes).all()


def test_a_read_only_copy_loads(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(GOLDEN / "v1-lines", copy)
    for path in copy.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert len(load_campaign(copy).trials) == 10
    for path in copy.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
