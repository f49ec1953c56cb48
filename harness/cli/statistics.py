"""harness.stats in the form that a run asks for; scipy is imported when first used."""

from collections.abc import Sequence

from harness.model.errors import InputError
from harness.model.scenario import Claim
from harness.run.tracker import Overhead


class CampaignStatistics:
    """Satisfies `harness.run.Statistics`."""

    def overhead(
        self, baseline: Sequence[float], candidate: Sequence[float], second: Sequence[float] | None
    ) -> Overhead | None:
        """Paired log ratio, position-adjusted unless counted; None where no estimate exists."""
        from harness.stats.paired import overhead

        try:
            return overhead(baseline, candidate, second)
        except InputError:
            return None

    def pairs_for_claim(self, claim: Claim, sd_log: float, expected: float) -> int:
        """Blocks that ``claim`` needs with power 80 %."""
        from harness.stats.size import pairs_for_claim

        return pairs_for_claim(claim, sd_log, expected)

    def sd_upper_bound(self, sd: float, degrees: int) -> float:
        """Upper 80 % bound of a standard deviation."""
        from harness.stats.size import sd_upper_bound

        return sd_upper_bound(sd, degrees)
