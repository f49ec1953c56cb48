"""Statistics of paired trials: estimates, verdicts on claims, sizes and calibration."""

from harness.stats.attacks import attacks_frame, summary, went_amiss
from harness.stats.campaign import estimate_campaign

__all__ = ["attacks_frame", "estimate_campaign", "summary", "went_amiss"]
