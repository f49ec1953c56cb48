"""Running a campaign: resumable, one trial after the other, everything kept."""

from harness.run.campaign import RunResult, run_campaign
from harness.run.events import Event, Observer
from harness.run.forecast import Forecast
from harness.run.opening import RunRequest
from harness.run.tracker import ClaimTracker, Statistics

__all__ = [
    "ClaimTracker",
    "Event",
    "Forecast",
    "Observer",
    "RunRequest",
    "RunResult",
    "Statistics",
    "run_campaign",
]
