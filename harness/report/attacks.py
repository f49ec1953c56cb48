"""Attacks: the sentence that answers for all of them, and the table of each."""

from harness.model.estimate import AttackResult
from harness.report.data import Dataset
from harness.report.numbers import fixed
from harness.report.table import Heading, Table
from harness.stats import attacks_frame, summary, went_amiss

CLAIM = (
    "Every attack is refused at the expected stage and for exactly the expected reasons, and its "
    "twin without the attack is accepted"
)
_NOTHING = "\N{EN DASH}"
_NS_PER_MS = 1e6


def attacks_headline(data: Dataset) -> str:
    """How many attacks and harmless cases ended as expected; "" where the scenario has none."""
    attacks = data.estimates.attacks
    if not attacks:
        return ""
    left = len(attacks) - len(_ran(data))
    listed = f"; {left} more are listed with the reason why they were not run here" if left else ""
    return f"{summary(attacks)}{listed}."


def attacks_sentence(data: Dataset) -> str:
    """The claim about all attacks with its verdict and n; "" where the scenario has none."""
    ran, amiss = _ran(data), went_amiss(data.estimates.attacks)
    if not data.estimates.attacks:
        return ""
    verdict = "fails" if amiss else "holds" if ran else "is undecided"
    named = f" ({', '.join(one.attack.case for one in amiss)})" if amiss else ""
    harmless = sum(not one.attack.failures for one in ran)
    others = f" and {harmless} harmless cases" if harmless else ""
    return f"{CLAIM}: {verdict}{named}, n = {len(ran) - harmless} attacks{others}."


def flips_sentence(data: Dataset) -> str:
    """What became of changed bytes; "" where none was changed."""
    flips = data.estimates.flips
    if flips is None:
        return ""
    share = "every byte" if flips.flips >= flips.size_bytes else f"{flips.flips:,} bytes"
    fields = ", ".join(f"{field} ({count})" for field, count in flips.accepted.items())
    accepted = f" Accepted were changes in fields that nothing authenticates: {fields}."
    if flips.gaps:
        accepted = f" Gaps of the verifier: {', '.join(flips.gaps)}."
    return (
        f"Flip coverage: of an accepted evidence of {flips.size_bytes:,} bytes, {share} were "
        f"changed, one at a time; {flips.rejected:,} of {flips.flips:,} changes were refused."
        f"{accepted if flips.accepted else ''}"
    )


def _ran(data: Dataset) -> list[AttackResult]:
    return [one for one in data.estimates.attacks if one.verdict != "not run"]


def attacks_table(data: Dataset) -> Table:
    """One row per attack, in the order of the scenario."""
    attacks = data.estimates.attacks
    headings = (
        Heading("Row", number=False),
        Heading("Attack", number=False),
        Heading("Mounted on", number=False),
        Heading("Refused at", number=False),
        Heading("Reasons", number=False),
        Heading("Answer", "ms"),
        Heading("Evidence", "B"),
        Heading("Twin", number=False),
        Heading("Verdict", number=False),
    )
    return Table(
        "attacks",
        "Attacks, each on a deployment, on its evidence or in a guest, beside its harmless twin.",
        attacks_frame(attacks),
        headings,
        [_cells(one) for one in attacks],
        note=(
            "Answer: median time until the verifier has collected every reason, without anything "
            "remembered; of other parts, of the one request. Evidence: what the attack presents."
        ),
        missing="This scenario mounts no attacks.",
    )


def _cells(result: AttackResult) -> tuple[str, ...]:
    attack, ran = result.attack, result.verdict != "not run"
    time = _NOTHING
    if result.detection_ns is not None:
        time = fixed(result.detection_ns / _NS_PER_MS, 2)
    size = _NOTHING if result.evidence_bytes is None else f"{result.evidence_bytes:,}"
    twin = {"twin refused": "refused", "failed": _NOTHING}.get(result.verdict, "accepted")
    return (
        attack.row,
        f"{attack.title} ({attack.case})",
        "nothing" if attack.mounted == "none" else attack.mounted,
        result.stage or _NOTHING,
        ", ".join(result.failures) or ("accepted, as it must be" if _is_none(result) else _NOTHING),
        time,
        size,
        twin if ran else _NOTHING,
        f"{result.verdict}: {result.why}" if result.why else result.verdict,
    )


def _is_none(result: AttackResult) -> bool:
    """Whether it is no attack: something that must be accepted, and was."""
    return result.verdict == "as expected" and not result.attack.failures
