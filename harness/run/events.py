"""What a run tells its observer; `run --json` prints each as one line."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from harness.model.plan import PilotDecision
from harness.model.record import NoiseFlag, TrialStatus


class _Event(msgspec.Struct, frozen=True, tag_field="event"):
    pass


class CampaignStarted(_Event, frozen=True, tag="campaign_started"):
    """The campaign is open; ``done`` trials were recorded by earlier sessions."""

    campaign: str
    directory: str
    planned: int
    done: int
    eta_s: float


class TrialStarted(_Event, frozen=True, tag="trial_started"):
    """A trial begins."""

    trial_id: str
    workload: str
    cell_id: str
    arm: str
    block: int
    position: int


class TrialFinished(_Event, frozen=True, tag="trial_finished"):
    """A trial is committed; ``eta_s``: expected time of the rest."""

    trial_id: str
    status: TrialStatus
    reason: str
    duration_s: float
    flags: tuple[NoiseFlag, ...]
    done: int
    planned: int
    eta_s: float


class RunningEstimate(msgspec.Struct, frozen=True):
    """A claim's overhead so far, with its 95 % interval; no verdict before the last block."""

    claim_id: str
    point: float
    low: float
    high: float
    pairs: int


class BlockFinished(_Event, frozen=True, tag="block_finished"):
    """All trials of a block are committed; ``estimates`` of the claims about its cell."""

    workload: str
    cell_id: str
    block: int
    estimates: tuple[RunningEstimate, ...]


class PlanExtended(_Event, frozen=True, tag="plan_extended"):
    """The pilot is over and the number of blocks is now fixed."""

    decisions: tuple[PilotDecision, ...]
    planned: int


class CampaignFinished(_Event, frozen=True, tag="campaign_finished"):
    """Every planned trial is committed."""

    directory: str
    planned: int
    by_status: dict[str, int]
    orchestration_share: float


Event: TypeAlias = (
    CampaignStarted | TrialStarted | TrialFinished | BlockFinished | PlanExtended | CampaignFinished
)
Observer: TypeAlias = Callable[[Event], None]
