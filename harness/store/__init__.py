"""Results on disk: append, compact, load, check (layout and guarantees in `layout.py`)."""

from harness.store.campaign import Campaign, load_campaign, read_provenance
from harness.store.emulation import Emulated, emulated_in
from harness.store.estimates import read_estimates, write_estimates
from harness.store.files import writing
from harness.store.integrity import check_campaign
from harness.store.layout import FORMAT_VERSION, Header, Layout, Session
from harness.store.overhead import Orchestration, orchestration
from harness.store.reader import (
    read_header,
    read_plan,
    read_sessions,
    read_trial_samples,
    read_trials,
)
from harness.store.samples import compact
from harness.store.writer import CampaignWriter, is_locked

__all__ = [
    "FORMAT_VERSION",
    "Campaign",
    "CampaignWriter",
    "Emulated",
    "Header",
    "Layout",
    "Orchestration",
    "Session",
    "check_campaign",
    "compact",
    "emulated_in",
    "is_locked",
    "load_campaign",
    "orchestration",
    "read_estimates",
    "read_header",
    "read_plan",
    "read_provenance",
    "read_sessions",
    "read_trial_samples",
    "read_trials",
    "write_estimates",
    "writing",
]
