"""Statistics of paired trials: estimates, verdicts on claims, sizes and calibration."""

from harness.stats.campaign import estimate_campaign

__all__ = ["estimate_campaign"]
