"""The sentences of a report: what was claimed, what came out, what to be careful about."""

from harness.model.estimate import ClaimResult, CostModel, Estimate
from harness.report.attacks import attacks_headline
from harness.report.counted import estimate_name, operation_phrase
from harness.report.data import TOTAL, Dataset, factors_text, half_width, metric_words
from harness.report.numbers import (
    MINUS,
    NBSP,
    bounded,
    estimate_and_interval,
    margin_percent,
    percent,
    percent_interval,
    percent_places,
    quantity,
)
from harness.stats.reducers import counted

# Two layouts always differ a little, and exact counts show it: a hundredth of a percent is nothing.
_LAYOUT = 1e-4


def claim_text(result: ClaimResult) -> str:
    """What the claim requires, in words."""
    of_what = " more instructions" if is_counted(result.estimate) else ""
    if result.kind == "at_most" and result.margin_high is not None:
        return f"at most {margin_percent(result.margin_high)}{of_what}"
    if result.margin_low is not None and result.margin_high is not None:
        low, high = margin_percent(result.margin_low), margin_percent(result.margin_high)
        return f"between {low} and {high}{of_what}"
    return "an estimate, no margin set"


def is_counted(estimate: Estimate | None) -> bool:
    """Whether the estimate is of counted instructions, which must not be called a time."""
    return estimate is not None and counted(estimate.unit)


def verdict_word(result: ClaimResult) -> str:
    """holds, fails, inconclusive; "estimate" without a margin; "no data" without an estimate."""
    if result.estimate is None:
        return "no data"
    if result.kind == "estimate" and result.verdict == "holds":
        return "estimate"
    return result.verdict


def headline(data: Dataset) -> str:
    """The answer in one sentence: the first claim's estimate and verdict, and the others' count."""
    results = data.estimates.claims
    if not results:
        return attacks_headline(data) or _exploratory(data)
    first = results[0]
    if first.estimate is None:
        return f"There is no estimate for the first claim ({first.claim_id}): {first.why}."
    estimate = first.estimate
    emulated = ", parts emulated" if data.emulated([estimate.cell_id]) else ""
    sentence = f"{_comparison(estimate)}{emulated})"
    if first.kind == "estimate":
        return f"{sentence}."
    return f"{sentence}: the claim “{claim_text(first)}” {_verdict_clause(first)}."


def _comparison(estimate: Estimate) -> str:
    """The estimate in words, up to the bracket that says how sure it is."""
    most = percent_places(estimate.unit)
    size, interval = estimate_and_interval(
        estimate.point, estimate.low, estimate.high, 0.01, signed=True, most=most
    )
    size = f"{size.lstrip('+' + MINUS)}{NBSP}%"
    more = "less" if estimate.point < 0 else "more"
    sure = f"(95{NBSP}% interval {interval}{NBSP}%, n{NBSP}={NBSP}{estimate.n_pairs} pairs of"
    if not is_counted(estimate):
        return (
            f"For {_what(estimate)} with {factors_text(estimate.factors)}, {estimate.candidate} "
            f"costs {size} {more} than {estimate.baseline} {sure} trials"
        )
    fewer = "fewer" if estimate.point < 0 else "more"
    verb = f"executes {size} {fewer} instructions than"
    if estimate.low == estimate.high == 0:
        verb = "executes exactly as many instructions as"
    return (
        f"For {operation_phrase(estimate)}{_with(estimate)}, {estimate.candidate} {verb} "
        f"{estimate.baseline} {sure} guests, a salt each"
    )


def what_was_counted(estimate: Estimate) -> str:
    """The counted operation with its factors, if it has any."""
    return estimate_name(estimate) + _with(estimate)


def _with(estimate: Estimate) -> str:
    return f" with {factors_text(estimate.factors)}" if estimate.factors else ""


def _exploratory(data: Dataset) -> str:
    """Without claims: the range of the leading candidate's cost in steady state over the cells."""
    totals = [
        e
        for e in data.by_key.values()
        if e.candidate in data.candidates[:1] and (e.part, e.phase) == (TOTAL, "measured")
    ]
    start = "No claim was registered before the run, so every number is exploratory"
    found = [e for e in totals if e.metric == totals[0].metric and bounded(e.point)]
    if not found:
        return f"{start}."
    first = found[0]
    low, high = (percent(f(e.point for e in found), signed=True) for f in (min, max))
    if len(found) == 1:
        size = f"{percent_interval(first.point, first.low, first.high)} in its one cell"
    else:
        size = f"between {low} and {high} in {len(found)} cells"
    return f"{start}: {first.candidate} over {first.baseline} is {size} for {_what(first)}."


def _what(estimate: Estimate) -> str:
    name = metric_words(estimate.metric)
    part = "" if estimate.part == "total" else f", {estimate.part}"
    first = "the first " if estimate.phase == "first" else ""
    return f"{first}{name}{part}"


def _verdict_clause(result: ClaimResult) -> str:
    return "is inconclusive" if result.verdict == "inconclusive" else result.verdict


def count_sentence(data: Dataset) -> str:
    """How many of the claims ended how."""
    words = [verdict_word(result) for result in data.estimates.claims]
    plural = {"holds": "hold", "fails": "fail", "estimate": "estimates"}
    counted = [
        f"{count} {word if count == 1 else plural.get(word, word)}"
        for word in dict.fromkeys(words)
        if (count := words.count(word))
    ]
    noun = "claim" if len(words) == 1 else "claims"
    return f"{len(words)} {noun}: {', '.join(counted)}." if words else ""


def cost_sentence(model: CostModel) -> str:
    """The cost model in words, with where its fixed part stops to matter."""
    if not bounded(model.fixed_ns, model.proportional):
        return f"The cost model of {model.candidate} has no finite estimate."
    low, high = (quantity(v, "ns") for v in (model.fixed_low_ns, model.fixed_high_ns))
    share = percent_interval(model.proportional, model.proportional_low, model.proportional_high)
    sentence = (
        f"{model.candidate} adds {quantity(model.fixed_ns, 'ns')} [{low}, {high}] per round trip "
        f"and {share} of the command's own time ({model.n_parts} commands, "
        f"{model.n_blocks} blocks)."
    )
    if model.fixed_ns > 0:
        crossover = quantity(model.fixed_ns / 0.10, "ns", 2)
        sentence += f" Below {crossover} per round trip the fixed part alone is more than 10 %."
    return sentence


def warnings(data: Dataset) -> list[str]:
    """What a careful reader must know before trusting a claim."""
    found = []
    for result in data.estimates.claims:
        found += _claim_warnings(result)
    return list(dict.fromkeys(found))


def _claim_warnings(result: ClaimResult) -> list[str]:
    estimate, floor = result.estimate, result.noise_floor
    if estimate is None:
        return [f"{result.claim_id}: no estimate, {result.why}."]
    found = []
    if floor is None:
        found.append(f"{result.claim_id}: no A/A pair, so the noise floor is unknown.")
    elif max(floor.low, -floor.high) > (_LAYOUT if is_counted(floor) else 0):
        most = percent_places(floor.unit)
        found.append(
            f"{result.claim_id}: two copies of the baseline differ by "
            f"{percent_interval(floor.point, floor.low, floor.high, most)}, an interval that "
            "excludes 0. This happens to one campaign in twenty by chance; repeat before relying "
            "on it."
        )
    if floor is not None and abs(estimate.point) < half_width(floor):
        found.append(f"{result.claim_id}: the estimate lies within the noise floor.")
    if abs(estimate.position_effect) > max(half_width(estimate), 0.01):
        found.append(
            f"{result.claim_id}: running second changed a trial by "
            f"{percent(estimate.position_effect, signed=True)}; the estimate is adjusted for it."
        )
    if estimate.estimators_disagree:
        fieller = (estimate.fieller_low, estimate.fieller_high)
        words = ", ".join(percent(value, signed=True) for value in fieller)
        found.append(
            f"{result.claim_id}: the ratio of arithmetic means (Fieller interval [{words}]) "
            "disagrees with the paired estimate: look for skew or outliers in the trials."
        )
    return found
