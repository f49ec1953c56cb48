"""What ends `run` and `report`: the claims, the attacks, and the gate on the attacks."""

from harness.cli.common import percent, text_table
from harness.model.errors import RejectedError
from harness.model.estimate import AttackResult, CampaignEstimates, ClaimResult
from harness.model.record import FlipOutcome

_HEADER = ("claim", "verdict", "estimate", "95 % interval", "n", "A/A", "MDE", "paper")


def results_text(estimates: CampaignEstimates) -> str:
    """The claims, and the attacks where the scenario has any."""
    if not estimates.attacks:
        return claims_table(estimates)
    attacks = attacks_table(estimates.attacks)
    if estimates.flips is not None:
        attacks = f"{attacks}\n{flips_line(estimates.flips)}"
    return f"{claims_table(estimates)}\n\n{attacks}" if estimates.claims else attacks


def check_gates(estimates: CampaignEstimates) -> None:
    """Raise RejectedError where an attack went amiss or a changed byte got through unexplained.

    A claim that fails is a finding about what was measured, and no gate.
    """
    from harness.stats import went_amiss

    amiss = [one.attack.case for one in went_amiss(estimates.attacks)]
    gaps = estimates.flips.gaps if estimates.flips is not None else ()
    found = [f"attacks that did not end as expected: {', '.join(amiss)}"] if amiss else []
    if gaps:
        found.append(f"changed bytes accepted without a documented reason: {', '.join(gaps)}")
    if found:
        raise RejectedError(f"{estimates.campaign}: {'; '.join(found)}; see the table of attacks")


def flips_line(flips: FlipOutcome) -> str:
    """How many changed bytes were refused, and the gaps if there are any."""
    gaps = f"; gaps: {', '.join(flips.gaps)}" if flips.gaps else ", all in documented fields"
    return (
        f"{flips.rejected} of {flips.flips} changed bytes refused, "
        f"{flips.flips - flips.rejected} accepted{gaps}"
    )


def attacks_table(attacks: tuple[AttackResult, ...]) -> str:
    """One row per attack, and below it what went amiss or was not run."""
    from harness.stats import summary

    rows = [
        (
            one.attack.row,
            one.attack.case,
            one.attack.mounted,
            one.verdict,
            one.stage or "-",
            "-" if one.detection_ns is None else f"{one.detection_ns / 1e6:.2f}",
            ", ".join(one.failures) or "-",
        )
        for one in attacks
    ]
    header = ("row", "attack", "mounted", "verdict", "stage", "ms", "failures")
    reasons = [f"  {one.attack.case}: {one.why}" for one in attacks if one.why]
    return "\n".join([text_table(header, rows), *reasons, summary(attacks)])


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
