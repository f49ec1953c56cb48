"""How the golden folders of format 1 were made; run once, never again for that version.

Usage: python tests/store/make_golden.py FOLDER. Every value is written here, none is measured.
"""

import sys
from contextlib import closing
from pathlib import Path

from harness.model.record import NoiseFlag, Sample, TrialRecord
from harness.model.scenario import SamplePhase
from harness.scenario import cells_of, parse_scenario
from harness.schedule import plan_trials
from harness.store import CampaignWriter, Header, Session, compact

TEXT = """\
name = "golden"
title = "Golden campaign of format 1"
seed = 5
backend = "fake"
baseline = "base"
[[arms]]
name = "base"
kind = "fake"
[[arms]]
name = "slow"
kind = "fake"
[[workloads]]
name = "w"
kind = "fake"
iterations = 1
blocks = 4
"""

PHASES: tuple[SamplePhase, ...] = ("first", "measured")


def make(directory: Path, *, compacted: bool) -> None:
    """Ten of twelve trials done: the first failed, the third is flagged, the last two interrupted."""
    scenario = parse_scenario(TEXT)
    cells = cells_of(scenario)
    plan = plan_trials(scenario, {})
    with closing(CampaignWriter(directory)) as writer:
        writer.write_header(
            Header(
                format_version=1,
                campaign="golden",
                scenario_file="golden.toml",
                scenario_text=TEXT,
                seed=5,
                created_utc="2025-11-01T12:00:00+00:00",
                created_s=1761998400.0,
                machines=("ab" * 32,),
                cells=tuple(cells.values()),
            )
        )
        writer.write_plan(plan)
        writer.append_session(Session(1, 0.0))
        provenance = writer.put_provenance({"backend": "fake", "emulated": [], "host": {}})
        evidence = writer.put_evidence(b"evidence")
        records = []
        for index, trial in enumerate(plan[:10]):
            ok = index > 0
            samples = tuple(
                Sample("fake_latency_ns", "total", phase, i, 1000.0 * index + i, "ns", "model")
                for i, phase in enumerate(PHASES)
            )
            record = TrialRecord(
                trial_id=trial.trial_id,
                cell_id=trial.cell_id,
                workload="w",
                arm=trial.arm,
                arm_kind="fake",
                block=trial.block,
                position=trial.position,
                started_utc="2025-11-01T12:00:00+00:00",
                started_s=2.0 * index,
                duration_s=1.5,
                status="ok" if ok else "failed",
                provenance=provenance,
                samples=2 if ok else 0,
                reason="" if ok else "fake.failed",
                noise=(NoiseFlag("load", 3.5, 1.5),) if index == 2 else (),
                evidence=(evidence,) if index == 1 else (),
                interrupted_block=index >= 8,
                notes={"round_trips": '{"total": 1}'} if index == 1 else {},
            )
            writer.append_trial(record, samples if ok else ())
            records.append(record)
        writer.append_session(Session(1, 0.0, 20.0))
        if compacted:
            compact(directory, records)


if __name__ == "__main__":
    make(Path(sys.argv[1]) / "v1-lines", compacted=False)
    make(Path(sys.argv[1]) / "v1-parquet", compacted=True)
