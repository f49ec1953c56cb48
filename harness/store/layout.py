"""Files of one campaign, ``results/<campaign>/``.

- ``campaign.json``: Header. Written once, replaced atomically when the pilot is decided.
- ``plan.jsonl``: every planned trial in running order; follows from the header alone.
- ``trials.jsonl``: one TrialRecord per line, appended and fsynced. A line with its newline is the
  commit point of its trial; a torn last line is a trial that did not happen.
- ``samples/<trial id>.jsonl``: the trial's samples, on disk before the trial's line;
  ``samples/samples.parquet`` holds those of compacted trials.
- ``evidence/<sha256>``, ``provenance/<sha256>.json``: named by their content.
- ``sessions.jsonl``: when each `run` began and ended; lost lines cost no result.
- ``estimates.json``: derived, may be deleted.
"""

from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.model.plan import PilotDecision
from harness.model.scenario import Cell

# 1 (2025-11): first format.
FORMAT_VERSION = 1


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """``campaign.json``. ``machines``: fingerprints of the machines that ran trials."""

    format_version: int
    campaign: str
    scenario_file: str
    scenario_text: str
    seed: int
    created_utc: str
    created_s: float
    machines: tuple[str, ...]
    cells: tuple[Cell, ...]
    pilot: tuple[PilotDecision, ...] = ()


class Session(msgspec.Struct, frozen=True):
    """One `run` of a campaign. Seconds since the campaign was created; ``ended_s`` None: killed."""

    number: int
    started_s: float
    ended_s: float | None = None


class Layout(NamedTuple):
    """Paths inside a campaign's folder."""

    directory: Path

    @property
    def header(self) -> Path:
        """``campaign.json``."""
        return self.directory / "campaign.json"

    @property
    def plan(self) -> Path:
        """``plan.jsonl``."""
        return self.directory / "plan.jsonl"

    @property
    def trials(self) -> Path:
        """``trials.jsonl``."""
        return self.directory / "trials.jsonl"

    @property
    def sessions(self) -> Path:
        """``sessions.jsonl``."""
        return self.directory / "sessions.jsonl"

    @property
    def samples(self) -> Path:
        """Folder of the samples."""
        return self.directory / "samples"

    @property
    def parquet(self) -> Path:
        """Compacted samples."""
        return self.samples / "samples.parquet"

    @property
    def evidence(self) -> Path:
        """Folder of evidence."""
        return self.directory / "evidence"

    @property
    def provenance(self) -> Path:
        """Folder of provenance."""
        return self.directory / "provenance"

    @property
    def estimates(self) -> Path:
        """``estimates.json``."""
        return self.directory / "estimates.json"

    @property
    def lock(self) -> Path:
        """Held by the one `run` that may write."""
        return self.directory / "lock"

    def trial_samples(self, trial_id: str) -> Path:
        """Samples of one trial that is not yet compacted."""
        return self.samples / f"{trial_id}.jsonl"
