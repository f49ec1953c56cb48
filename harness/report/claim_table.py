"""The table of claims, and the texts of one claim's row."""

import json

import pandas as pd

from harness.model.estimate import ClaimResult, Estimate
from harness.report.answers import claim_text, is_counted, verdict_word, what_was_counted
from harness.report.data import Dataset, factors_text, half_width
from harness.report.frames import flat
from harness.report.numbers import NO_DATA, bounded, percent, percent_interval, percent_places
from harness.report.table import Heading, Table


def claims_table(data: Dataset) -> Table:
    """One row per pre-registered claim: everything needed to quote it."""
    headings = (
        Heading("Claim", number=False),
        Heading("Cell", number=False),
        Heading("Requires", number=False),
        Heading("Paper", number=False),
        Heading("Estimate [95 % interval]"),
        Heading("n", "pairs"),
        Heading("Noise floor"),
        Heading("MDE"),
        Heading("Verdict", number=False),
        Heading("Emulated", number=False),
    )
    return Table(
        "claims",
        "Claims registered before the run, with their verdicts.",
        pd.DataFrame([_claim_row(data, result) for result in data.estimates.claims]),
        headings,
        [tuple(claim_cells(data, result).values()) for result in data.estimates.claims],
        missing="This scenario registers no claims.",
    )


def claim_cells(data: Dataset, result: ClaimResult) -> dict[str, str]:
    """The texts of one claim's row, by column."""
    estimate = result.estimate
    return {
        "claim": f"{result.title} ({result.claim_id})",
        "cell": claim_cell(data, result),
        "requires": claim_text(result),
        "paper": result.paper or "not stated",
        "estimate": estimate_text(estimate) if estimate else NO_DATA,
        "n": str(estimate.n_pairs) if estimate else "0",
        "noise_floor": noise_floor_text(result.noise_floor),
        "mde": percent(estimate.mde, most=percent_places(estimate.unit)) if estimate else NO_DATA,
        "verdict": verdict_word(result),
        "emulated": emulated_text(data, result),
    }


def estimate_text(estimate: Estimate) -> str:
    """ "+9.8 % [+9.1, +10.5]"; what was counted is named as what it is."""
    most = percent_places(estimate.unit)
    text = percent_interval(estimate.point, estimate.low, estimate.high, most)
    return f"{text} instructions" if is_counted(estimate) else text


def claim_cell(data: Dataset, result: ClaimResult) -> str:
    """The factors of the cell that the claim declares; for counts the operation as well."""
    if result.estimate is not None and is_counted(result.estimate):
        return what_was_counted(result.estimate)
    if result.estimate is not None:
        return factors_text(result.estimate.factors)
    claim = data.claim(result.claim_id)
    return factors_text(claim.factors) if claim else "unknown cell"


def emulated_text(data: Dataset, result: ClaimResult) -> str:
    """What was emulated in the trials behind this claim."""
    ids = [result.estimate.cell_id] if result.estimate else None
    return ", ".join(entry.what for entry in data.emulated(ids)) or "nothing"


def noise_floor_text(floor: Estimate | None) -> str:
    """ "±0.62 %", the half-width of the A/A interval."""
    if floor is None:
        return "not measured"
    width = half_width(floor)
    text = percent(width, most=percent_places(floor.unit))
    return f"±{text}" if bounded(width) else text


def _claim_row(data: Dataset, result: ClaimResult) -> dict[str, object]:
    row = {
        name: getattr(result, name)
        for name in ("claim_id", "title", "kind", "margin_low", "margin_high", "paper", "verdict")
    }
    row |= {"p_value": result.p_value, "p_holm": result.p_holm, "why": result.why}
    if result.estimate is not None:
        row |= flat(result.estimate)
    floor = result.noise_floor
    return row | {
        "noise_floor_half_width": half_width(floor),
        "noise_floor_low": floor.low if floor else None,
        "noise_floor_high": floor.high if floor else None,
        "excluded_trials": json.dumps(result.excluded_trials, sort_keys=True),
        "flagged_trials": result.flagged_trials,
        "emulated": emulated_text(data, result),
    }
