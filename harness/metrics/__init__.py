"""What each metric means: unit, which direction is better, and the clock that measured it."""

from harness.metrics.registry import METRICS, Metric, metric

__all__ = ["METRICS", "Metric", "metric"]
