"""The claims table that ends `run` and `report`."""

from harness.cli.common import percent, text_table
from harness.model.estimate import CampaignEstimates, ClaimResult

_HEADER = ("claim", "verdict", "estimate", "95 % interval", "n", "A/A", "MDE", "paper")


def claims_table(estimates: CampaignEstimates) -> str:
    """One row per claim, and below it why a claim is undecided or fails."""
    if not estimates.claims:
        return "no claims; `attestbench report` shows all estimates"
    table = text_table(_HEADER, [_row(claim) for claim in estimates.claims])
    reasons = [f"  {c.claim_id}: {c.why}" for c in estimates.claims if c.why]
    return "\n".join([table, *reasons])


def _row(claim: ClaimResult) -> tuple[str, ...]:
    paper = claim.paper or "-"
    floor = "-"
    if claim.noise_floor is not None:
        half_width = (claim.noise_floor.high - claim.noise_floor.low) / 2
        floor = f"±{100 * half_width:.2f} %"
    found = claim.estimate
    if found is None:
        return (claim.claim_id, claim.verdict, "-", "-", "-", floor, "-", paper)
    interval = f"[{percent(found.low)}, {percent(found.high)}]"
    mde = f"{100 * found.mde:.2f} %"
    n = str(found.n_pairs)
    return (claim.claim_id, claim.verdict, percent(found.point), interval, n, floor, mde, paper)
