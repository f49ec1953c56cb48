"""Tables that let a reader check: every estimate, the cost model, two estimators side by side."""

import msgspec
import pandas as pd

from harness.model.estimate import Estimate
from harness.report.comparisons import cell_name, in_order
from harness.report.counted import ENTRIES, LOG_BYTES, WALL
from harness.report.data import PHASE_NAMES, TOTAL, Dataset, factors_text, metric_words
from harness.report.frames import estimates_frame
from harness.report.numbers import NBSP, estimate_and_interval, percent, percent_places
from harness.report.table import Heading, Table
from harness.stats.reducers import counted


def estimates_table(data: Dataset) -> Table:
    """Every estimate; CSV only, it is too long to read."""
    frame = estimates_frame(data, data.estimates.estimates)
    return Table("estimates", "Every estimate at full precision.", frame)


def cost_table(data: Dataset) -> Table:
    """Fixed cost per round trip and proportional cost per cell and candidate."""
    cells = {cell.id: cell for cell in data.cells}
    rows: list[tuple[str, ...]] = []
    for model in data.estimates.cost_models:
        fixed = estimate_and_interval(model.fixed_ns, model.fixed_low_ns, model.fixed_high_ns, 1e3)
        share = estimate_and_interval(
            model.proportional, model.proportional_low, model.proportional_high, 0.01, signed=True
        )
        cell = cells[model.cell_id]
        name = factors_text(cell.factors) if cell.factors else cell.workload
        counts = (str(model.n_parts), str(model.n_blocks))
        rows.append((name, model.candidate, " ".join(fixed), " ".join(share), *counts))
    headings = (
        Heading("Cell", number=False),
        Heading("Arm", number=False),
        Heading("Fixed per round trip [95 % interval]", "µs"),
        Heading("Proportional [95 % interval]", "%"),
        Heading("Commands"),
        Heading("Blocks"),
    )
    frame = pd.DataFrame([msgspec.to_builtins(model) for model in data.estimates.cost_models])
    caption = "Cost model of the TPM commands: added = fixed per round trip + share of own time."
    missing = "No cost model could be fitted: it needs TPM commands measured in both arms."
    return Table("cost_model", caption, frame, headings, rows, missing=missing)


def crosscheck_table(data: Dataset) -> Table:
    """Paired estimate beside Fieller's interval: totals, claims and whatever disagrees."""
    claimed = [r.estimate for r in data.estimates.claims if r.estimate is not None]
    chosen = [
        e
        for e in data.estimates.estimates
        if e.metric not in (ENTRIES, LOG_BYTES, WALL)
        and (e.estimators_disagree or e.part == TOTAL or e in claimed)
    ]
    headings = (
        Heading("Cell", number=False),
        Heading("Value", number=False),
        Heading("Arm", number=False),
        Heading("Paired [95 % interval]", "%"),
        Heading("Ratio of means [Fieller]", "%"),
        Heading("Running second", "%"),
        Heading("sd of log ratio", "%"),
        Heading("Estimators", number=False),
    )
    caption = "Cross-check: position-adjusted paired ratio and ratio of arithmetic means."
    ordered = in_order(data, chosen)
    frame, rows = estimates_frame(data, ordered), [_crosscheck_row(e) for e in ordered]
    missing = "There is no estimate to cross-check."
    return Table("crosscheck", caption, frame, headings, rows, missing=missing)


def _crosscheck_row(e: Estimate) -> tuple[str, ...]:
    ratio = e.candidate_mean / e.baseline_mean - 1 if e.baseline_mean else float("nan")
    most = percent_places(e.unit)
    fieller = estimate_and_interval(
        ratio, e.fieller_low, e.fieller_high, 0.01, signed=True, most=most
    )
    paired = estimate_and_interval(e.point, e.low, e.high, 0.01, signed=True, most=most)
    second = percent(e.position_effect, signed=True).removesuffix(f"{NBSP}%")
    return (
        cell_name(e),
        f"{metric_words(e.metric)}, {e.part}, {PHASE_NAMES.get(e.phase, e.phase)}",
        e.candidate,
        " ".join(paired),
        " ".join(fieller),
        "not fitted" if counted(e.unit) else second,
        percent(e.sd_log, most=most).removesuffix(f"{NBSP}%"),
        "disagree" if e.estimators_disagree else "agree",
    )
