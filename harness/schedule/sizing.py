"""From the pilot's spread to a fixed number of blocks, decided once."""

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from harness.model.errors import InputError
from harness.model.plan import ClaimSize, PilotDecision
from harness.model.scenario import Claim, Workload

_UNREACHABLE = 1_000_000


class PilotSpread(NamedTuple):
    """Spread of one claim's log ratios over the pilot's complete blocks."""

    sd_log: float
    degrees: int


class SizeRule(Protocol):
    """The statistics behind the decision; `harness.stats.size` provides both functions."""

    def pairs_for_claim(self, claim: Claim, sd_log: float, expected: float) -> int:
        """Blocks that ``claim`` needs when its overhead is ``expected``."""

    def sd_upper_bound(self, sd: float, degrees: int) -> float:
        """Upper 80 % bound of a standard deviation."""


def sized_workload(
    workload: Workload,
    claims: tuple[Claim, ...],
    spreads: Mapping[str, PilotSpread | None],
    assumed_sd_log: float,
    rule: SizeRule,
) -> PilotDecision:
    """Blocks of ``workload`` that serve all its ``claims``; ``spreads`` by claim id.

    Where the pilot gave no estimate (too many failed trials) the assumed spread is used. The
    result is even, not below the pilot and not above ``max_blocks``.
    """
    assert workload.pilot is not None  # only such workloads are sized
    sizes = tuple(_size(claim, spreads[claim.id], assumed_sd_log, rule) for claim in claims)
    wanted = max([workload.pilot, *(size.blocks for size in sizes)])
    wanted += wanted % 2
    blocks = min(wanted, workload.max_blocks)
    return PilotDecision(workload.name, workload.pilot, wanted, blocks, sizes)


def _size(
    claim: Claim, spread: PilotSpread | None, assumed_sd_log: float, rule: SizeRule
) -> ClaimSize:
    sd_upper = assumed_sd_log
    if spread is not None:
        sd_upper = rule.sd_upper_bound(spread.sd_log, spread.degrees)
    expected = expected_overhead(claim)
    try:
        blocks = rule.pairs_for_claim(claim, sd_upper, expected)
    except InputError:  # no feasible size; max_blocks will cut it
        blocks = _UNREACHABLE
    return ClaimSize(claim.id, spread.sd_log if spread else None, sd_upper, expected, blocks)


def expected_overhead(claim: Claim) -> float:
    """The overhead assumed for sizing. Never the pilot's own mean: it must not steer n."""
    if claim.expected is not None:
        return claim.expected
    if claim.low is not None and claim.high is not None:
        return math.expm1((math.log1p(claim.low) + math.log1p(claim.high)) / 2)
    if claim.at_most is not None:
        # Half of a positive margin, twice a negative one: below the margin in either case.
        middle = math.log1p(claim.at_most)
        return math.expm1(middle / 2 if middle > 0 else 2 * middle - 0.01)
    return 0.0
