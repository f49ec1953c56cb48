"""The plan of a campaign: balanced random blocks, and n from the pilot."""

from harness.schedule.blocks import block_orders
from harness.schedule.plan import block_seed, plan_trials, trial_id_of
from harness.schedule.sizing import PilotSpread, SizeRule, expected_overhead, sized_workload

__all__ = [
    "PilotSpread",
    "SizeRule",
    "block_orders",
    "block_seed",
    "expected_overhead",
    "plan_trials",
    "sized_workload",
    "trial_id_of",
]
